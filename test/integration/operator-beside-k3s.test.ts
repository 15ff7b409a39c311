import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ETCDSnapshotFile, recordKeys, SEED_FINALIZER } from '../../src/crds/etcd-snapshot-file.ts';
import { resourceName } from '../../src/crds/resource-name.ts';
import { type FaultFront, startFaultFront } from '../support/fault-front.ts';
import { copyIn, type OperatorScene, putObject, startScene } from '../support/operator-scene.ts';
import type { RunningOperator } from '../support/operators.ts';
import { until } from '../support/s3-looks.ts';
import { type S3Server, startS3 } from '../support/s3-server.ts';
import { scratchDir } from '../support/scratch.ts';

const BUCKET = 'etcd';
const keys = recordKeys('k3s');
const THEIRS = SEED_FINALIZER;
const OURS = keys.finalizer;

let scene: OperatorScene;
let s3: S3Server;
let front: FaultFront;
let serial = 1_730_308_816;

beforeAll(async () => {
  [scene, s3] = await Promise.all([startScene(), startS3({ kind: 'versitygw' })]);
  await s3.createBucket(BUCKET);
  front = await startFaultFront(s3.url);
});

afterAll(async () => {
  await front?.[Symbol.asyncDispose]();
  await scene?.[Symbol.asyncDispose]();
  await s3?.[Symbol.asyncDispose]();
});

function newName(): string {
  serial += 1;
  return `etcd-snapshot-node-1-${serial}`;
}

type Writer = 'local' | 's3' | 'newer s3';

/** The record that k3s itself makes of a copy: old versions call the node of an object `s3`, newer ones by its name. */
function recordByK3s(name: string, kind: Writer, place: string): ETCDSnapshotFile {
  const seconds = Number(name.split('-').at(-1));
  const nodeName = kind === 's3' ? 's3' : 'node-1';
  const location = kind === 'local' ? `file://${join(place, name)}` : `s3://${BUCKET}/${place}/${name}`;
  const named = { snapshotName: name, location, createdAt: new Date(seconds * 1000), compressed: false };
  return {
    apiVersion: 'k3s.cattle.io/v1',
    kind: 'ETCDSnapshotFile',
    metadata: {
      name:
        kind === 'local'
          ? resourceName({ ...named, nodeName })
          : resourceName({ ...named, nodeName: 's3', nodeSource: nodeName }),
      labels: { [keys.storageNode]: kind === 'local' ? 'node-1' : 's3' },
      annotations: { [keys.tokenHash]: '2bb80d537b1d' },
      finalizers: [THEIRS],
    },
    spec: {
      snapshotName: name,
      nodeName,
      location,
      ...(kind === 'local'
        ? {}
        : {
            s3: {
              endpoint: front.endpoint,
              bucket: BUCKET,
              ...(kind === 's3' ? {} : { bucketLookup: 'auto' }),
              region: 'us-east-1',
              prefix: place,
              insecure: true,
            },
          }),
    },
    status: { size: '1056', creationTime: named.createdAt.toISOString(), readyToUse: true },
  };
}

const asK3s = (file: ETCDSnapshotFile) => scene.cluster.put(file, 'create', '--field-manager=k3s');
const settings = (folder: string) => ({ ...s3.settings(BUCKET, folder), endpoint: front.endpoint });
const origin = () => ({ cluster: scene.clusterId, node: 'node-1', tokenHash: '2bb80d537b1d' });
const start = (folder: string) =>
  scene.operator({ node: 'node-1', s3: settings(folder), tuning: { intervalMs: 300, youngMs: 0 } });
const named = (record: ETCDSnapshotFile) => scene.cluster.record(record.metadata.name);
const hasBoth = ({ metadata: { finalizers = [] } }: ETCDSnapshotFile) =>
  finalizers.includes(THEIRS) && finalizers.includes(OURS);
const remove = (record: ETCDSnapshotFile) =>
  scene.cluster.run('delete', 'etcdsnapshotfile', record.metadata.name, '--wait=false');
/** What k3s's controller does with a deleted record, whatever it was: it lifts its own finalizer. */
async function liftAsK3s(record: ETCDSnapshotFile): Promise<void> {
  const finalizers = (await named(record))?.metadata.finalizers?.filter((name) => name !== THEIRS) ?? [];
  const patch = JSON.stringify({ metadata: { finalizers } });
  const name = `etcdsnapshotfile/${record.metadata.name}`;
  await scene.cluster.run('patch', name, '--type=merge', '--field-manager=k3s', `-p=${patch}`);
}
const objects = async (folder: string) => {
  const page = await s3.client().send(new ListObjectsV2Command({ Bucket: BUCKET, Prefix: `${folder}/` }));
  return (page.Contents ?? []).map(({ Key = '' }) => Key);
};

/** A copy on disk and two on S3 that k3s has recorded, and an operator that comes to it. */
async function besideK3s(folder: string): Promise<{
  readonly operator: RunningOperator;
  readonly local: ETCDSnapshotFile;
  readonly old: ETCDSnapshotFile;
  readonly newer: ETCDSnapshotFile;
}> {
  const operator = await start(folder);
  expect(await operator.stop()).toBe(0);
  const names = [newName(), newName(), newName()] as const;
  const local = recordByK3s(names[0], 'local', operator.dir);
  const old = recordByK3s(names[1], 's3', folder);
  const newer = recordByK3s(names[2], 'newer s3', folder);
  await copyIn(operator, names[0]);
  for (const name of names.slice(1)) await putObject(s3, BUCKET, `${folder}/${name}`, origin());
  for (const record of [local, old, newer]) await asK3s(record);
  const again = await scene.operator({
    node: 'node-1',
    dataDir: operator.dataDir,
    s3: settings(folder),
    tuning: { intervalMs: 300, youngMs: 0 },
  });
  for (const record of [local, old, newer]) await scene.recordOf(record.spec.snapshotName, hasBoth);
  return { operator: again, local, old, newer };
}

describe('records that k3s has made', () => {
  it('are the records: none is made beside them, what k3s wrote stays, and our finalizer comes beside its own', async () => {
    const { operator, local, old, newer } = await besideK3s('beside');
    await using _ended = operator;
    await operator.looks('local', 2);
    await operator.looks('s3', 2);
    for (const record of [local, old, newer]) {
      const now = await scene.recordOf(record.spec.snapshotName);
      expect(now.spec).toEqual(record.spec);
      expect(now.metadata.name).toBe(record.metadata.name);
      expect(now.metadata.labels).toEqual(record.metadata.labels);
      expect(now.metadata.annotations).toMatchObject(record.metadata.annotations ?? {});
      expect(now.metadata.finalizers).toEqual([THEIRS, OURS]);
    }
  });

  it('are not fought over: once both agree nobody writes, and nothing is asked of S3 but listings', async () => {
    const { operator, ...records } = await besideK3s('peace');
    await using _ended = operator;
    const all = async () => Promise.all(Object.values(records).map(named));
    await operator.looks('local', 2);
    await operator.looks('s3', 2);
    const before = await all();
    const from = front.requests.length;
    await operator.looks('local', 3);
    await operator.looks('s3', 3);
    expect(await all()).toEqual(before);
    const more = front.requests.slice(from).filter(({ path }) => !path.includes('list-type=2'));
    expect(more.map(({ method, path }) => `${method} ${path}`)).toEqual([]);
  });

  it('go when their data go: our finalizer is lifted, k3s lifts its own, and nothing brings them back', async () => {
    const { operator, local } = await besideK3s('going');
    await using _ended = operator;
    await rm(join(operator.dir, local.spec.snapshotName));
    await until(async () => (await named(local))?.metadata.deletionTimestamp !== undefined);
    expect((await named(local))?.metadata.finalizers).toEqual([THEIRS]);
    await liftAsK3s(local);
    await scene.gone(local.spec.snapshotName);
    await operator.looks('local', 2);
    expect(await scene.cluster.records(local.spec.snapshotName)).toEqual([]);
  });

  it('take their data along when somebody deletes them, whichever of the two lifts first', async () => {
    const { operator, local, old, newer } = await besideK3s('wish');
    await using _ended = operator;
    await remove(local);
    await remove(newer);
    await until(async () => !(await readdir(operator.dir)).includes(local.spec.snapshotName));
    await until(async () => !(await objects('wish')).includes(`wish/${newer.spec.snapshotName}`));
    await until(async () => (await named(newer))?.metadata.finalizers?.join() === THEIRS);
    await until(async () => (await named(local))?.metadata.finalizers?.join() === THEIRS);
    await liftAsK3s(local);
    await liftAsK3s(newer);

    // k3s lifts its own before the operator can act: the record still waits for ours.
    expect(await operator.stop()).toBe(0);
    await remove(old);
    await liftAsK3s(old);
    expect((await named(old))?.metadata.finalizers).toEqual([OURS]);
    await using _back = await start('wish');
    for (const record of [local, old, newer]) await scene.gone(record.spec.snapshotName);
    expect(await objects('wish')).toEqual([]);
  });
});

describe('deletions that k3s may have made itself', () => {
  it('of a record of S3, while it keeps snapshots there: the object stays, and an Event says why', async () => {
    const { operator, old } = await besideK3s('both');
    await using _ended = operator;
    const note = `${keys.snapshotsTimestamp.s3}=${new Date().toISOString()}`;
    await scene.cluster.run('annotate', 'node', 'node-1', note);
    await remove(old);
    expect(await scene.told(old.metadata.name, 'ETCDSnapshotNotDeleted')).toContain(
      'k3s on node node-1 keeps snapshots on S3',
    );
    await until(async () => (await named(old))?.metadata.finalizers?.join() === THEIRS);
    await liftAsK3s(old);
    expect(await objects('both')).toContain(`both/${old.spec.snapshotName}`);
    await scene.cluster.run('annotate', 'node', 'node-1', `${keys.snapshotsTimestamp.s3}-`);
  });

  it('of a record of S3, while a k3s is to keep snapshots there and has not looked yet: the object stays', async () => {
    const { operator, newer } = await besideK3s('starting');
    await using _ended = operator;
    const args = 'k3s.io/node-args=["server","--etcd-s3","true","--etcd-s3-bucket","etcd"]';
    await scene.cluster.run('annotate', 'node', 'node-1', args);
    await remove(newer);
    expect(await scene.told(newer.metadata.name, 'ETCDSnapshotNotDeleted')).toContain(
      'k3s on node node-1 keeps snapshots on S3',
    );
    await until(async () => (await named(newer))?.metadata.finalizers?.join() === THEIRS);
    await liftAsK3s(newer);
    expect(await objects('starting')).toContain(`starting/${newer.spec.snapshotName}`);
    await scene.cluster.run('annotate', 'node', 'node-1', 'k3s.io/node-args-');
  });

  it('of a record of its own folder that had just been made: the file stays, and gets another one', async () => {
    await using operator = await scene.operator({ node: 'node-2', tuning: { k3sLooksMs: 3_600_000 } });
    await operator.ready();
    const name = 'just-now-node-2-1730308816';
    await copyIn(operator, name);
    const record = await scene.recordOf(name, ({ metadata }) => Boolean(metadata.finalizers?.includes(OURS)));
    await remove(record);
    expect(await scene.told(record.metadata.name, 'ETCDSnapshotNotDeleted')).toContain('k3s itself deletes');
    await scene.recordOf(name, ({ metadata }) => metadata.uid !== record.metadata.uid);
    expect(await readdir(operator.dir)).toContain(name);
  });

  it('of a record of a folder that is not its own: the file stays, and an Event says why', async () => {
    await using dir = await scratchDir('elsewhere-');
    await using operator = await scene.operator({ node: 'node-2', args: [`--dir=${dir.path}`] });
    await operator.ready();
    await copyIn({ ...operator, dir: dir.path }, 'by-hand-node-2-1730308816');
    const record = await scene.recordOf('by-hand-node-2-1730308816', ({ metadata }) =>
      Boolean(metadata.finalizers?.includes(OURS)),
    );
    await remove(record);
    expect(await scene.told(record.metadata.name, 'ETCDSnapshotNotDeleted')).toContain(dir.path);
    expect(await readdir(dir.path)).toContain('by-hand-node-2-1730308816');
  });
});

describe('where the operator runs', () => {
  it.each([
    ['rke2', 'etcd.rke2.cattle.io/snapshot-storage-node', 'etcd.rke2.cattle.io/snapshot-storage'],
    ['custom', 'etcd.k3s.cattle.io/snapshot-storage-node', THEIRS],
  ])(
    '%s: label and finalizer are those of that place, and a deleted record takes its file along',
    async (distribution, label, finalizer) => {
      const node = `on-${distribution}`;
      const name = `by-hand-${node}-1730308816`;
      await using data = await scratchDir('place-');
      const place = distribution === 'custom' ? [`--dir=${data.path}`] : [];
      await using operator = await scene.operator({
        node,
        args: [`--distribution=${distribution}`, ...place],
      });
      await operator.ready();
      const dir = distribution === 'custom' ? data.path : operator.dir;
      await copyIn({ ...operator, dir }, name);
      const record = await scene.recordOf(name);
      expect(record.metadata).toMatchObject({ labels: { [label]: node }, finalizers: [finalizer] });
      await remove(record);
      await until(async () => (await named(record)) === undefined);
      expect(await readdir(dir)).not.toContain(name);
    },
  );
});
