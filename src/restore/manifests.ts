import { link, mkdir, readdir, readFile, rename, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { abortError, SnapshotError } from '../errors.ts';
import { ETCD_POD, joiningManifest } from './etcd-manifest.ts';
import { exists, moveTo, removeUnfinished, writeSmall } from './files.ts';
import type { Journal, ManifestPlaces, Places } from './journal.ts';
import type { Obstacle } from './order.ts';

/** The pods that must not run while data are moved; kubelet ends them when their manifest is gone. */
export const PODS = [ETCD_POD, 'kube-apiserver.yaml'];
/** Longer than kubelet gives a pod to end. */
const STOP_TIMEOUT_MS = 300_000;
const LOOK_EVERY_MS = 500;

/** The manifest as it was before a member was made to join. */
const before = ({ away }: ManifestPlaces) => join(away, 'etcd-before-rejoin.yaml');

/** Whether kubelet would start etcd, now or in a moment. */
export async function startsEtcd(dir: string): Promise<boolean> {
  return exists(join(dir, ETCD_POD));
}

/** Moves the manifests away, and waits until what they started has ended. @throws SnapshotError `conflict` | `timeout` | `aborted` */
export async function stopPods(
  { places }: Journal,
  running: () => Promise<readonly Obstacle[]>,
  signal: AbortSignal,
): Promise<void> {
  const { manifests } = places;
  if (manifests === undefined) return;
  const { dir, away } = manifests;
  await mkdir(away, { recursive: true, mode: 0o700 });
  for (const name of PODS) {
    const [from, to] = [join(dir, name), join(away, name)];
    if ((await exists(from)) && (await exists(to))) await assertAlike(from, to);
    await moveIfThere(from, to);
  }
  const deadline = Date.now() + STOP_TIMEOUT_MS;
  for (;;) {
    const [first] = await running();
    if (first === undefined) return;
    if (Date.now() > deadline) {
      throw new SnapshotError('timeout', `etcd does not end although its manifest is in ${away}`, {
        why: first.what,
        hint: 'See whether kubelet runs (systemctl status kubelet), and end the container by hand (crictl ps, crictl stop).',
      });
    }
    if (signal.aborted) throw abortError(signal);
    await pause(LOOK_EVERY_MS);
  }
}

/** Somebody has put a manifest back while the restore was not finished; neither of two different ones is lost by us. */
async function assertAlike(one: string, other: string): Promise<void> {
  if ((await readFile(one, 'utf8')) === (await readFile(other, 'utf8'))) return;
  throw new SnapshotError('conflict', `${one} is there again, and is not what was moved away`, {
    why: `the one that was moved away is ${other}`,
    hint: `Leave the one that is to be started afterwards in ${other}, and move the other one somewhere else.`,
  });
}

/** Whether the manifest that a rejoin is to write can be made of the one that is there. @throws SnapshotError `corrupt` */
export async function assertJoins({ manifests }: Places): Promise<void> {
  if (manifests?.initialCluster === undefined) return;
  const { dir, away, initialCluster } = manifests;
  for (const path of [before(manifests), join(away, ETCD_POD), join(dir, ETCD_POD)]) {
    if (await exists(path)) return void (await joiningManifest(path, initialCluster));
  }
}

/** Puts the manifests back, so that kubelet starts the pods. That of a member that rejoins says so. */
export async function startPods({ places }: Journal): Promise<void> {
  const { manifests } = places;
  if (manifests === undefined || !(await exists(manifests.away))) return;
  const { dir, away, initialCluster } = manifests;
  if (initialCluster !== undefined && !(await exists(join(dir, ETCD_POD)))) {
    const [kept, etcd] = [before(manifests), join(away, ETCD_POD)];
    // Cut off anywhere, the manifest still has its name: it tells where the data are, and with that this restore.
    if (!(await exists(kept))) await link(etcd, kept);
    await writeSmall(etcd, await joiningManifest(kept, initialCluster));
  }
  for (const name of PODS) await moveIfThere(join(away, name), join(dir, name));
  if ((await readdir(away)).length === 0) await rmdir(away);
}

/**
 * For going back, once the pods are stopped: the manifest that a member which rejoined had before is to be put back.
 * @returns the journal of going back, for `startPods`
 */
export async function withManifestOfBefore(journal: Journal): Promise<Journal> {
  const { manifests } = journal.places;
  if (manifests?.initialCluster === undefined) return journal;
  const kept = before(manifests);
  const { dir, away } = manifests;
  if (await exists(kept)) await rename(kept, join(away, ETCD_POD));
  // Nothing was renamed where both are names of one file, because a rejoin was cut off in between.
  await rm(kept, { force: true });
  await removeUnfinished(join(away, ETCD_POD));
  return { ...journal, places: { ...journal.places, manifests: { dir, away } } };
}

async function moveIfThere(from: string, to: string): Promise<void> {
  if (await exists(from)) await moveTo(from, to);
}
