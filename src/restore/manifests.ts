import { mkdir, readFile, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parse } from 'yaml';
import type { RestoreOrder } from '../config/restore-settings.ts';
import { abortError, SnapshotError, systemCode } from '../errors.ts';
import { exists, moveTo } from './files.ts';
import type { Journal } from './journal.ts';
import type { Obstacle } from './order.ts';

/** The pods that must not run while data are moved; kubelet ends them when their manifest is gone. */
const PODS = ['etcd.yaml', 'kube-apiserver.yaml'];
/** Longer than kubelet gives a pod to end. */
const STOP_TIMEOUT_MS = 300_000;
const LOOK_EVERY_MS = 500;

/** What kubeadm wrote about the etcd of this node. */
interface EtcdManifest {
  readonly member: string | undefined;
  readonly peerUrl: string | undefined;
  readonly dataDir: string | undefined;
}

/** Whether moving manifests ends etcd, so that it may run until then. */
export async function stopsByItself({ manifestDir }: Pick<RestoreOrder, 'manifestDir'>): Promise<boolean> {
  return manifestDir !== undefined && (await exists(join(manifestDir, 'etcd.yaml')));
}

/** The order, with what the manifest says of the member where the user said nothing. @throws as `readEtcdManifest` */
export async function withManifest(order: RestoreOrder): Promise<RestoreOrder> {
  const found = order.manifestDir === undefined ? undefined : await readEtcdManifest(order.manifestDir);
  if (found === undefined) return order;
  const dataDir = order.dataDirGiven ? order.dataDir : (found.dataDir ?? order.dataDir);
  return { ...order, dataDir, member: order.member ?? found.member, peerUrl: order.peerUrl ?? found.peerUrl };
}

/** Undefined when there is none. @throws SnapshotError `corrupt` */
async function readEtcdManifest(folder: string): Promise<EtcdManifest | undefined> {
  const path = join(folder, 'etcd.yaml');
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw error;
  });
  if (text === undefined) return undefined;
  const flags = new Map<string, string>();
  for (const word of wordsIn(parse(text))) {
    const [, name, value] = /^--([a-z-]+)=(.*)$/.exec(word) ?? [];
    if (name !== undefined && value !== undefined) flags.set(name, value);
  }
  return {
    member: flags.get('name'),
    peerUrl: flags.get('initial-advertise-peer-urls')?.split(',')[0],
    dataDir: flags.get('data-dir'),
  };
}

/** Every text of the document: the flags of the one container are among them. */
function wordsIn(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  if (Array.isArray(value)) return value.flatMap(wordsIn);
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(wordsIn) : [];
}

/** Moves the manifests away, and waits until what they started has ended. @throws SnapshotError `timeout` | `aborted` */
export async function stopPods(
  { places }: Journal,
  running: () => Promise<readonly Obstacle[]>,
  signal: AbortSignal,
): Promise<void> {
  const { manifests } = places;
  if (manifests === undefined) return;
  await mkdir(manifests.away, { recursive: true, mode: 0o700 });
  for (const name of PODS) await moveIfThere(join(manifests.dir, name), join(manifests.away, name));
  const deadline = Date.now() + STOP_TIMEOUT_MS;
  for (;;) {
    const [first] = await running();
    if (first === undefined) return;
    if (Date.now() > deadline) {
      throw new SnapshotError('timeout', `etcd does not end although its manifest is in ${manifests.away}`, {
        why: first.what,
        hint: 'See whether kubelet runs (systemctl status kubelet), and end the container by hand (crictl ps, crictl stop).',
      });
    }
    if (signal.aborted) throw abortError(signal);
    await pause(LOOK_EVERY_MS);
  }
}

/** Puts the manifests back, so that kubelet starts the pods. */
export async function startPods({ places }: Journal): Promise<void> {
  const { manifests } = places;
  if (manifests === undefined || !(await exists(manifests.away))) return;
  for (const name of PODS) await moveIfThere(join(manifests.away, name), join(manifests.dir, name));
  await rmdir(manifests.away);
}

async function moveIfThere(from: string, to: string): Promise<void> {
  if (await exists(from)) await moveTo(from, to);
}
