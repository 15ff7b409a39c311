import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { exampleS3Location, exampleSnapshot } from '../test/support/example-snapshots.ts';
import { type ScratchDir, scratchDir } from '../test/support/scratch.ts';
import { snapshotBytes } from '../test/support/store-contract.ts';
import { noFile } from './config/config-file.ts';
import { parseFlags } from './config/flags.ts';
import { resolveConfig } from './config/resolve.ts';
import { type ETCDSnapshotFile, snapshotFileResource } from './crds/etcd-snapshot-file.ts';
import { toSnapshotFile } from './crds/mapping.ts';
import { SnapshotError } from './errors.ts';
import { fromAnswer } from './kube/api-errors.ts';
import type { KubeRequest } from './kube/api-request.ts';
import type { KubeClient } from './kube/client.ts';
import { createRemoval } from './removal.ts';
import type { SnapshotStore } from './snapshot/ports.ts';
import type { Snapshot } from './snapshot/snapshot.ts';
import { createLocalStore } from './stores/local-store.ts';

const never = new AbortController().signal;
const K3S_HOLD = { 'etcd.k3s.cattle.io/snapshot-hold': '' };
const RKE2_HOLD = { 'etcd.rke2.cattle.io/snapshot-hold': 'for the auditor' };
const seven = [1, 2, 3, 4, 5, 6, 7].map((one) => `on-demand-n1-${one}`);
const now = new Date('2026-01-01T00:00:00Z');

const left: ScratchDir[] = [];
afterEach(async () => {
  for (const one of left.splice(0)) await one[Symbol.asyncDispose]();
});

const missing = (name: string) => JSON.stringify({ kind: 'Status', reason: 'NotFound', details: { name } });

type Change = (file: ETCDSnapshotFile) => ETCDSnapshotFile;
const held =
  (annotations: Readonly<Record<string, string>>, spec: Partial<ETCDSnapshotFile['spec']> = {}): Change =>
  (file) => ({ ...file, metadata: { ...file.metadata, annotations }, spec: { ...file.spec, ...spec } });

/** A folder with seven snapshots, a bucket with the same, and an API server that has a record of each. */
async function world(args: readonly string[] = []) {
  const scratch = await scratchDir('removal-');
  left.push(scratch);
  const dir = join(scratch.path, 'snapshots');
  await mkdir(dir);
  for (const name of seven) await writeFile(join(dir, name), snapshotBytes(2));
  const config = resolveConfig(
    'prune',
    parseFlags(['prune', '--node-name=n1', '--distribution=custom', `--dir=${dir}`, ...args]),
    { env: {}, hostname: 'n1', cwd: '/', exists: () => false },
    noFile,
  );
  const folder = createLocalStore({ dir, isDefaultDir: false, nodeName: 'n1' });
  const objects = new Map(
    seven.map((name) => [
      name,
      exampleSnapshot(name, { location: exampleS3Location(name), clusterId: 'ours' }),
    ]),
  );
  const locked = new Set<string>();
  const refuse = () => Promise.reject(new Error('not part of deleting'));
  const remote: SnapshotStore = {
    kind: 's3',
    put: refuse,
    open: refuse,
    sweep: refuse,
    list: async () => [...objects.values()],
    stat: async (name) => objects.get(name),
    async remove(name) {
      if (locked.has(name))
        throw new SnapshotError('locked', `Cannot delete ${name}`, { why: 'it is locked' });
      return objects.delete(name);
    },
  };
  const records = new Map<string, ETCDSnapshotFile>();
  const put = (snapshot: Snapshot, change: Change = (file) => file) => {
    const file = change(toSnapshotFile(snapshot, 'k3s'));
    const { name } = file.metadata;
    records.set(name, { ...file, metadata: { ...file.metadata, name, uid: name, resourceVersion: '1' } });
    return name;
  };
  for (const snapshot of [...(await folder.list(never)), ...objects.values()]) put(snapshot);
  let onRead: (path: string) => void = () => {};
  const collection = `/apis/${snapshotFileResource.apiVersion}/${snapshotFileResource.plural}`;
  const client: KubeClient = {
    server: 'https://127.0.0.1',
    async request<T>(request: KubeRequest): Promise<T> {
      if (request.method === 'GET') onRead(request.path);
      return JSON.parse(JSON.stringify(answer(request)));
    },
    async *watch() {},
    async [Symbol.asyncDispose]() {},
  };
  const answer = (request: KubeRequest): unknown => {
    const { method, path } = request;
    if (path.startsWith('/api/v1/namespaces/kube-system')) return { metadata: { uid: 'ours' } };
    if (path === collection) return { metadata: {}, items: [...records.values()] };
    if (path.includes('/events')) return {};
    const name = decodeURIComponent(path.slice(collection.length + 1));
    const file = records.get(name);
    if (file === undefined) throw fromAnswer(request, 404, missing(name));
    if (method === 'DELETE') records.delete(name);
    return file;
  };
  const s3 = args.some((arg) => arg.startsWith('--s3'));
  const removal = createRemoval({
    config,
    program: 'k3s',
    folder,
    remote: s3 ? { open: async () => remote, location: exampleS3Location } : undefined,
    secretRetention: () => 1,
    cluster: async () => client,
    clock: { now: () => now },
  });
  return {
    dir,
    scratch: scratch.path,
    removal,
    records,
    objects,
    locked,
    put,
    onDisk: async () => (await readdir(dir)).toSorted(),
    whenRead: (then: (path: string) => void) => {
      onRead = then;
    },
  };
}

const s3Args = ['--s3', '--s3-bucket=etcd', '--s3-endpoint=s3.example.com', '--s3-folder=a'];

it.each<[string, (dir: string) => Partial<ETCDSnapshotFile['spec']>, Readonly<Record<string, string>>]>([
  ['as we write it', () => ({}), K3S_HOLD],
  ['under the name that RKE2 gives it', () => ({}), RKE2_HOLD],
  [
    'on the folder by a link to it',
    (dir) => ({ location: `file://${dir}/../linked/on-demand-n1-1` }),
    K3S_HOLD,
  ],
  ['on a folder of another container', () => ({ location: 'file:///host/s/on-demand-n1-1' }), K3S_HOLD],
  ['by a node of another name', () => ({ nodeName: 'n1.example.com' }), K3S_HOLD],
])('keeps on disk what somebody holds, %s', async (_how, spec, annotations) => {
  const { removal, put, dir, scratch, onDisk } = await world(['--snapshot-retention=6']);
  await symlink(dir, join(scratch, 'linked'));
  const location = { store: 'local', path: join(dir, 'on-demand-n1-1') } as const;
  put(exampleSnapshot('on-demand-n1-1', { location }), held(annotations, spec(dir)));
  const pruned = await removal.prune(false, never);
  expect(pruned.stores).toMatchObject([{ deleted: [], failures: [] }]);
  const { failures } = await removal.delete(['on-demand-n1-1', 'on-demand-n1-2'], never);
  expect(failures).toMatchObject([{ name: 'on-demand-n1-1', error: { code: 'held' } }]);
  expect(await onDisk()).toEqual(seven.filter((name) => name !== 'on-demand-n1-2'));
});

it.each<[string, Partial<NonNullable<ETCDSnapshotFile['spec']['s3']>>]>([
  ['with a scheme and a port', { endpoint: 'https://S3.example.com:443' }],
  ['by another name of the server', { endpoint: '10.0.0.9' }],
  ['with slashes about the folder', { prefix: '/a/' }],
])('keeps on S3 what somebody holds, %s', async (_how, spelled) => {
  const { removal, put, objects } = await world([...s3Args, '--s3-retention=6']);
  const of = objects.get('on-demand-n1-1') ?? exampleSnapshot('');
  const s3 = { ...toSnapshotFile(of, 'k3s').spec.s3, ...spelled };
  put(of, held(RKE2_HOLD, { s3 }));
  await removal.prune(false, never);
  const { failures } = await removal.delete(['on-demand-n1-1', 'on-demand-n1-2'], never);
  expect(failures).toMatchObject([{ name: 'on-demand-n1-1', store: 's3', error: { code: 'held' } }]);
  expect([...objects.keys()]).toContain('on-demand-n1-1');
  expect([...objects.keys()]).not.toContain('on-demand-n1-2');
});

it('reads each record anew right before the data go: what was held meanwhile stays, and is no failure', async () => {
  const { removal, put, dir, onDisk, whenRead } = await world(['--snapshot-retention=4']);
  const location = { store: 'local', path: join(dir, 'on-demand-n1-2') } as const;
  whenRead((path) => {
    if (path.includes('on-demand-n1-1-'))
      put(exampleSnapshot('on-demand-n1-2', { location }), held(K3S_HOLD));
  });
  const { stores, warnings } = await removal.prune(false, never);
  expect(stores).toMatchObject([{ failures: [] }]);
  expect(warnings).toMatchObject([{ code: 'held' }]);
  expect(await onDisk()).toEqual(seven.filter((name) => !/-[13]$/.test(name)));
});

it('leaves to the deletion of a record what becomes of its snapshot, unless it is named', async () => {
  const { removal, put, dir, onDisk } = await world(['--snapshot-retention=5']);
  const location = { store: 'local', path: join(dir, 'on-demand-n1-1') } as const;
  put(exampleSnapshot('on-demand-n1-1', { location }), (file) => ({
    ...file,
    metadata: { ...file.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' },
  }));
  const { warnings } = await removal.prune(false, never);
  expect(warnings).toMatchObject([
    { code: 'held', why: expect.stringContaining('somebody deletes its record') },
  ]);
  expect(await onDisk()).toContain('on-demand-n1-1');
  await removal.delete(['on-demand-n1-1'], never);
  expect(await onDisk()).not.toContain('on-demand-n1-1');
});

it('spares what was recorded last, and tells of a clock that was wrong', async () => {
  const { removal, put, dir, onDisk } = await world(['--snapshot-retention=5']);
  const recorded =
    (creationTimestamp: string): Change =>
    (file) => ({ ...file, metadata: { ...file.metadata, creationTimestamp } });
  for (const name of seven) {
    const time = name === seven[0] ? '2025-12-31T12:00:00Z' : '2025-12-30T12:00:00Z';
    put(exampleSnapshot(name, { location: { store: 'local', path: join(dir, name) } }), recorded(time));
  }
  const ahead = 'on-demand-n1-4000000000';
  await writeFile(join(dir, ahead), snapshotBytes(2));
  const { warnings } = await removal.prune(false, never);
  expect(await onDisk()).toEqual([...seven.filter((name) => !name.endsWith('-2')), ahead].toSorted());
  expect(warnings).toMatchObject([{ code: 'clock-skew', message: expect.stringContaining(ahead) }]);
});

it('takes what S3 keeps locked for no failure of prune, and for one of delete', async () => {
  const { removal, locked, objects } = await world([...s3Args, '--s3-retention=5']);
  locked.add('on-demand-n1-1');
  const { stores, failures, warnings } = await removal.prune(false, never);
  expect([failures, stores.flatMap((store) => store.failures)]).toEqual([[], []]);
  expect(warnings).toMatchObject([{ code: 'locked' }]);
  expect([...objects.keys()]).toEqual(seven.filter((name) => !name.endsWith('-2')));
  const deleted = await removal.delete(['on-demand-n1-1'], never);
  expect(deleted.failures).toMatchObject([{ store: 's3', error: { code: 'locked' } }]);
});
