import { readdir, readlink, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ETCDSnapshotFile } from '../../src/crds/etcd-snapshot-file.ts';
import { type ClusterLooks, lookAt } from '../support/cluster-looks.ts';
import { runCommand, s3Env, s3Flags } from '../support/command.ts';
import { type ControlPlane, startControlPlane } from '../support/control-plane.ts';
import { grantRights, type RunningOperator, startOperator } from '../support/operators.ts';
import { until } from '../support/s3-looks.ts';
import { type S3Server, startS3 } from '../support/s3-server.ts';
import { snapshotBytes } from '../support/store-contract.ts';

const BUCKET = 'etcd';
const FINALIZER = 'etcd.k3s.cattle.io/snapshot-storage';
const HOLD = 'etcd.k3s.cattle.io/snapshot-hold';
const POLICY = 'etcd.k3s.cattle.io/snapshot-deletion-policy';

let plane: ControlPlane;
let cluster: ClusterLooks;
let s3: S3Server;
let operator: RunningOperator;
let serial = 0;

beforeAll(async () => {
  [plane, s3] = await Promise.all([startControlPlane(), startS3({ kind: 'versitygw' })]);
  await s3.createBucket(BUCKET);
  cluster = lookAt(plane);
  const kubeconfig = await grantRights(plane);
  await cluster.run('create', '-f', await nodeManifest('node-1'));
  const settings = s3.settings(BUCKET, 'prod');
  operator = await startOperator({
    plane,
    kubeconfig,
    node: 'node-1',
    s3: settings,
    // Nothing else tells it of an object that somebody puts there.
    tuning: { intervalMs: 300 },
  });
  await operator.ready();
});

afterAll(async () => {
  await operator?.[Symbol.asyncDispose]();
  await s3?.[Symbol.asyncDispose]();
  await plane?.[Symbol.asyncDispose]();
});

async function nodeManifest(name: string): Promise<string> {
  const file = join(plane.etcd.members[0]?.dataDir ?? '', `${name}.json`);
  await writeFile(file, JSON.stringify({ apiVersion: 'v1', kind: 'Node', metadata: { name } }));
  return file;
}

/** Puts a snapshot into the folder, as a copy by hand or k3s itself would, and waits for its record. */
async function onDisk(): Promise<{ name: string; path: string; record: ETCDSnapshotFile }> {
  serial += 1;
  const name = `by-hand-node-1-${1_730_308_816 + serial}`;
  const path = join(operator.dir, name);
  await writeFile(path, snapshotBytes(2), { mode: 0o600 });
  return { name, path, record: await recordOf(name) };
}

async function onS3(): Promise<{ name: string; key: string; record: ETCDSnapshotFile }> {
  serial += 1;
  const name = `by-hand-node-1-${1_730_308_816 + serial}`;
  const key = `prod/${name}`;
  await s3.client().send(new PutObjectCommand({ Bucket: BUCKET, Key: key, Body: snapshotBytes(2) }));
  return { name, key, record: await recordOf(name) };
}

async function recordOf(name: string): Promise<ETCDSnapshotFile> {
  let found: ETCDSnapshotFile | undefined;
  await until(async () => {
    [found] = await cluster.records(name);
    return found?.metadata.finalizers?.includes(FINALIZER) === true;
  });
  if (found === undefined) throw new Error('no record');
  return found;
}

const files = () => readdir(operator.dir);
const isGone = (record: ETCDSnapshotFile) => async () =>
  (await cluster.record(record.metadata.name)) === undefined;
const reasons = async (record: ETCDSnapshotFile) =>
  (await cluster.events(record.metadata.name)).map(({ reason }) => reason);
const told = (record: ETCDSnapshotFile, reason: string) => async () =>
  (await reasons(record)).includes(reason);
const remove = (record: ETCDSnapshotFile) =>
  cluster.run('delete', 'etcdsnapshotfile', record.metadata.name, '--wait=false');

describe('kubectl delete of a record', () => {
  it('of the disk: the file and its sidecar go, and then the record', async () => {
    const { name, record } = await onDisk();
    await remove(record);
    await until(isGone(record));
    expect(await files()).not.toContain(name);
    await until(told(record, 'ETCDSnapshotDeleted'));
    expect(await reasons(record)).toEqual(['ETCDSnapshotCreated', 'ETCDSnapshotDeleted']);
  });

  it('that is held: nothing happens until the hold is lifted, and then all of it', async () => {
    const { name, record } = await onDisk();
    await cluster.run('annotate', 'etcdsnapshotfile', record.metadata.name, `${HOLD}=audit`);
    await remove(record);
    await until(told(record, 'ETCDSnapshotHeld'));
    expect(await files()).toContain(name);
    expect(await cluster.record(record.metadata.name)).toBeDefined();
    await cluster.run('annotate', 'etcdsnapshotfile', record.metadata.name, `${HOLD}-`);
    await until(isGone(record));
    expect(await files()).not.toContain(name);
  });

  it('with the policy Retain: the data stay, and so their record comes back, as often as it is deleted', async () => {
    const [disk, remote] = [await onDisk(), await onS3()];
    for (const { name, record } of [disk, remote]) {
      await cluster.run('annotate', 'etcdsnapshotfile', record.metadata.name, `${POLICY}=Retain`);
      const uids = new Set([record.metadata.uid]);
      for (const count of [2, 3]) {
        await remove(record);
        await until(async () => uids.add((await recordOf(name)).metadata.uid).size === count);
        expect((await recordOf(name)).metadata.annotations).toMatchObject({ [POLICY]: 'Retain' });
      }
      await until(told(record, 'ETCDSnapshotRetained'));
    }
    expect(await files()).toContain(disk.name);
    await s3.client().send(new HeadObjectCommand({ Bucket: BUCKET, Key: remote.key }));
  });

  it('is not the end of a hold when the file is away for a while, as a volume that is not mounted', async () => {
    const { name, path, record } = await onDisk();
    await cluster.run('annotate', 'etcdsnapshotfile', record.metadata.name, `${HOLD}=audit`);
    const isReady = async () => (await recordOf(name)).status?.readyToUse;
    const elsewhere = join(operator.dataDir, name);
    await rename(path, elsewhere);
    await until(async () => (await isReady()) === false);
    await rename(elsewhere, path);
    await until(async () => (await isReady()) === true);
    const { metadata, status } = await recordOf(name);
    expect(metadata).toMatchObject({ uid: record.metadata.uid, annotations: { [HOLD]: 'audit' } });
    expect(status?.error).toBeUndefined();
  });

  it('that claims a file outside of the folder: nothing is touched, and an Event says why', async () => {
    const victim = join(operator.dataDir, 'server/victim-node-1-1');
    await writeFile(victim, snapshotBytes(2));
    const file = await forge({ location: `file://${victim}`, snapshotName: 'victim-node-1-1' });
    await remove(file);
    await until(isGone(file));
    expect(await readdir(join(operator.dataDir, 'server'))).toContain('victim-node-1-1');
    await until(told(file, 'ETCDSnapshotNotDeleted'));
  });

  it('that claims a link in the folder: neither the link nor its target is touched', async () => {
    const target = join(operator.dataDir, 'server/target');
    await writeFile(target, snapshotBytes(2));
    const link = join(operator.dir, 'link-node-1-1');
    await symlink(target, link);
    const file = await forge({ location: `file://${link}`, snapshotName: 'link-node-1-1' });
    await remove(file);
    await until(isGone(file));
    expect(await readlink(link)).toBe(target);
    await until(told(file, 'ETCDSnapshotNotDeleted'));
  });

  it('of S3: the object goes, and then the record', async () => {
    const { key, record } = await onS3();
    await remove(record);
    await until(isGone(record));
    const head = s3.client().send(new HeadObjectCommand({ Bucket: BUCKET, Key: key }));
    await expect(head).rejects.toMatchObject({ $metadata: { httpStatusCode: 404 } });
    await until(told(record, 'ETCDSnapshotDeleted'));
  });
});

it('a living record that claims a file outside of the folder is told at once, gets no finalizer, and goes like any object', async () => {
  const victim = join(operator.dataDir, 'server/victim-node-1-2');
  await writeFile(victim, snapshotBytes(2));
  const file = await forge({ location: `file://${victim}`, snapshotName: 'victim-node-1-2' }, []);
  await until(told(file, 'ETCDSnapshotForeign'));
  expect((await cluster.record(file.metadata.name))?.metadata.finalizers).toBeUndefined();
  await cluster.run('delete', 'etcdsnapshotfile', file.metadata.name, '--timeout=60s');
  expect(await readdir(join(operator.dataDir, 'server'))).toContain('victim-node-1-2');
});

it('goes on well beside etcd-snapshot delete: files, objects and records are gone, each told once', async () => {
  const [disk, remote] = [await onDisk(), await onS3()];
  const settings = s3.settings(BUCKET, 'prod');
  const place = [`--data-dir=${operator.dataDir}`, '--distribution=k3s', '--node-name=node-1'];
  const args = [...place, `--kubeconfig=${plane.kubeconfig}`, ...s3Flags(settings)];
  const { code, stderr } = await runCommand(['delete', ...args, disk.name, remote.name], s3Env(settings));
  expect({ code, warned: stderr.includes('WARN') }, stderr).toEqual({ code: 0, warned: false });
  expect(await files()).not.toContain(disk.name);
  for (const { record } of [disk, remote]) {
    await until(isGone(record));
    await until(told(record, 'ETCDSnapshotDeleted'));
    expect(await reasons(record)).toEqual(['ETCDSnapshotCreated', 'ETCDSnapshotDeleted']);
  }
  await operator.looks('local', 2);
  await operator.looks('s3', 2);
  for (const { record } of [disk, remote]) expect(await cluster.record(record.metadata.name)).toBeUndefined();
});

/** A record that somebody makes by hand, with our finalizer as the operator puts it on. */
async function forge(
  spec: { location: string; snapshotName: string },
  finalizers: readonly string[] = [FINALIZER],
): Promise<ETCDSnapshotFile> {
  serial += 1;
  const file = {
    apiVersion: 'k3s.cattle.io/v1',
    kind: 'ETCDSnapshotFile',
    metadata: { name: `forged-${serial}`, finalizers },
    spec: { nodeName: 'node-1', ...spec },
  } as const;
  const path = join(operator.dataDir, `forged-${serial}.json`);
  await writeFile(path, JSON.stringify(file));
  await cluster.run('create', '-f', path);
  return file;
}
