import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import type { RestoreOrder } from '../../src/config/restore-settings.ts';
import type { Step } from '../../src/restore/journal.ts';
import type { EtcdTools } from '../../src/restore/ports.ts';
import { type RestoreDialogue, type RestoreParts, runRestore } from '../../src/restore/run-restore.ts';
import type { ActiveService } from '../../src/restore/what-runs.ts';
import { plainOrder } from './restore-order.ts';
import { scratchDir } from './scratch.ts';

// A rejoin takes the steps that move data, and needs neither a snapshot nor etcd.
const unused = async () => {
  throw new Error('etcd is not needed here');
};
const tools: EtcdTools = {
  version: unused,
  restore: unused,
  start: unused,
  etcdVersion: unused,
  forgetPeers: unused,
  canBump: unused,
  isMember: unused,
};
export const ALL = 'm0=http://10.0.0.1:2380,m1=http://10.0.0.2:2380';

/** A node whose data are in `etcd`, and whose kubelet has manifests where `kubeadm` says so. */
export async function offlineNode(kubeadm = false) {
  const scratch = await scratchDir('node-');
  const [dataDir, manifests] = [join(scratch.path, 'etcd'), join(scratch.path, 'manifests')];
  await mkdir(join(dataDir, 'member'), { recursive: true });
  await mkdir(manifests);
  const command = [
    'etcd',
    `--data-dir=${dataDir}`,
    '--name=m1',
    '--initial-cluster=m1=http://10.0.0.2:2380',
    '--initial-advertise-peer-urls=http://10.0.0.2:2380',
  ];
  const pod = stringify({ kind: 'Pod', spec: { containers: [{ name: 'etcd', command }] } });
  if (kubeadm) {
    await writeFile(join(manifests, 'etcd.yaml'), `# by hand\n${pod}`);
    await writeFile(join(manifests, 'kube-apiserver.yaml'), 'kind: Pod\n');
  }
  const order: RestoreOrder = kubeadm
    ? {
        ...plainOrder,
        purpose: 'rejoin',
        distribution: 'kubeadm',
        dataDir: join(scratch.path, 'not-here'),
        dataDirGiven: false,
        manifestDir: manifests,
        initialCluster: ALL,
      }
    : { ...plainOrder, purpose: 'rejoin', dataDir };
  const services: ActiveService[] = [];
  const parts = {
    snapshot: undefined,
    fetch: undefined,
    tools,
    active: async () => services,
    lock: async () => ({ [Symbol.asyncDispose]: async () => undefined }),
    now: () => new Date(1_700_000_000_000),
  };
  return {
    folder: scratch.path,
    dataDir,
    manifests,
    away: `${manifests}-restore-1700000000`,
    pod: `# by hand\n${pod}`,
    services,
    tools,
    /** As it is read by who comes later. */
    journal: async (): Promise<unknown> =>
      JSON.parse(await readFile(join(scratch.path, '.etcd-restore.json'), 'utf8')),
    run: (
      change: Partial<RestoreOrder> = {},
      dialogue: Partial<RestoreDialogue> = {},
      more: Partial<RestoreParts> = {},
      signal = new AbortController().signal,
    ) =>
      runRestore(
        { ...parts, ...more, order: { ...order, ...change } },
        { onPlan: () => undefined, confirm: async () => true, onStep: () => undefined, ...dialogue },
        signal,
      ),
    names: async () => (await readdir(scratch.path)).filter((name) => !name.startsWith('.')).sort(),
    [Symbol.asyncDispose]: () => scratch[Symbol.asyncDispose](),
  };
}

/** An etcd that systemd starts again and again. */
export const etcd: ActiveService = { name: 'etcd', state: 'activating', pid: undefined };
/** Throws when that step is about to begin. */
export const cutOffAt = (wanted: Step) => (step: Step) => {
  if (step === wanted) throw new Error('cut off');
};
