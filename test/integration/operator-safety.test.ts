import { randomUUID } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { S3Settings } from '../../src/config/types.ts';
import { type ETCDSnapshotFile, recordKeys } from '../../src/crds/etcd-snapshot-file.ts';
import { type FaultFront, startFaultFront } from '../support/fault-front.ts';
import {
  copyIn,
  type OperatorScene,
  putObject,
  startScene,
  writeSidecar,
} from '../support/operator-scene.ts';
import type { RunningOperator } from '../support/operators.ts';
import { until } from '../support/s3-looks.ts';
import { type S3Server, startS3 } from '../support/s3-server.ts';

const BUCKET = 'etcd';
const DEFINITION = 'etcdsnapshotfiles.k3s.cattle.io';
const keys = recordKeys('k3s');
const quick = { intervalMs: 300, youngMs: 0 };

let scene: OperatorScene;
let s3: S3Server;
let front: FaultFront;
let settings: S3Settings;
/** Leads, and looks at its stores three times a second. */
let operator: RunningOperator;
let serial = 1_730_308_816;

beforeAll(async () => {
  [scene, s3] = await Promise.all([startScene(), startS3({ kind: 'versitygw' })]);
  await s3.createBucket(BUCKET);
  front = await startFaultFront(s3.url);
  settings = { ...s3.settings(BUCKET, 'prod'), endpoint: front.endpoint };
  operator = await scene.operator({ node: 'node-1', s3: settings, tuning: quick });
  await operator.ready();
});

afterAll(async () => {
  await front?.[Symbol.asyncDispose]();
  await scene?.[Symbol.asyncDispose]();
  await s3?.[Symbol.asyncDispose]();
});

function newName(node = 'node-1'): string {
  serial += 1;
  return `by-hand-${node}-${serial}`;
}

const ready = (record: ETCDSnapshotFile) => Boolean(record.metadata.finalizers?.includes(keys.finalizer));
const remove = (record: ETCDSnapshotFile) =>
  scene.cluster.run('delete', 'etcdsnapshotfile', record.metadata.name, '--wait=false');
const annotate = (record: ETCDSnapshotFile, annotation: string) =>
  scene.cluster.run('annotate', 'etcdsnapshotfile', record.metadata.name, annotation);
const files = () => readdir(operator.dir);
const isGone = (record: ETCDSnapshotFile) =>
  until(async () => (await scene.cluster.record(record.metadata.name)) === undefined);
const objects = async () => {
  const page = await s3.client().send(new ListObjectsV2Command({ Bucket: BUCKET }));
  return (page.Contents ?? []).map(({ Key = '' }) => Key);
};

async function onDisk(): Promise<ETCDSnapshotFile> {
  const name = newName();
  await copyIn(operator, name);
  return scene.recordOf(name, ready);
}

async function onS3(): Promise<ETCDSnapshotFile> {
  const name = newName();
  await putObject(s3, BUCKET, `prod/${name}`, { cluster: scene.clusterId, node: 'node-1' });
  const sidecar = { Bucket: BUCKET, Key: `prod/.metadata/${name}`, Body: '{"team":"a"}' };
  await s3.client().send(new PutObjectCommand(sidecar));
  return scene.recordOf(name, ready);
}

/** A record that goes because its file has gone. */
async function withGoneData(): Promise<ETCDSnapshotFile> {
  const record = await onDisk();
  await rm(join(operator.dir, record.spec.snapshotName));
  return record;
}

/** A record of S3 that somebody makes by hand, with our finalizer as the operator puts it on. */
async function claim(name: string, where: Readonly<Record<string, string>>): Promise<ETCDSnapshotFile> {
  const place = { endpoint: front.endpoint, bucket: BUCKET, prefix: 'prod', ...where };
  const file: ETCDSnapshotFile = {
    apiVersion: 'k3s.cattle.io/v1',
    kind: 'ETCDSnapshotFile',
    metadata: { name: `claim-${name}`, finalizers: [keys.finalizer] },
    spec: {
      snapshotName: name,
      nodeName: 's3',
      location: `s3://${place.bucket}/${place.prefix}/${name}`,
      s3: place,
    },
  };
  await scene.cluster.put(file);
  return file;
}

describe('a deleted record takes along', () => {
  it('the metadata beside its file', async () => {
    const record = await onDisk();
    const name = record.spec.snapshotName;
    await writeSidecar(operator, name, { team: 'a' });
    await remove(record);
    await isGone(record);
    expect(await files()).not.toContain(name);
    expect(await readdir(join(dirname(operator.dir), '.metadata'))).not.toContain(name);
  });

  it('the object and its metadata, as soon as S3 can be reached; until then an Event says what fails', async () => {
    const record = await onS3();
    front.setRule(() => ({ status: 503 }));
    await remove(record);
    expect(await scene.told(record.metadata.name, 'ETCDSnapshotDeleteFailed')).toContain('not deleted yet');
    expect(await operator.metric('deletion_failures_total', { store: 's3' })).toBeGreaterThan(0);
    expect(await scene.cluster.record(record.metadata.name)).toBeDefined();
    front.setRule(() => undefined);
    await isGone(record);
    const name = record.spec.snapshotName;
    expect((await objects()).filter((key) => key.includes(name))).toEqual([]);
  });
});

describe('nothing is touched, and an Event says why', () => {
  it.each([
    ['another bucket', { bucket: 'other' }, 's3.bucket'],
    ['another endpoint', { endpoint: 'elsewhere:9000' }, 's3.endpoint'],
    ['another folder', { prefix: 'production' }, 's3.prefix'],
  ])('when a record claims %s', async (_what, where, field) => {
    const name = newName();
    await putObject(s3, BUCKET, `production/${name}`, { cluster: scene.clusterId, node: 'node-1' });
    const record = await claim(name, where);
    await remove(record);
    await isGone(record);
    expect(await scene.told(record.metadata.name, 'ETCDSnapshotNotDeleted')).toContain(field);
    expect(await objects()).toContain(`production/${name}`);
  });

  it('when a record claims an object of another cluster', async () => {
    const name = newName();
    const cluster = randomUUID();
    await putObject(s3, BUCKET, `prod/${name}`, { cluster, node: 'node-1' });
    const record = await claim(name, {});
    await remove(record);
    await isGone(record);
    expect(await scene.told(record.metadata.name, 'ETCDSnapshotNotDeleted')).toContain(cluster);
    expect(await objects()).toContain(`prod/${name}`);
  });

  it('when the policy of a record is one that nobody knows', async () => {
    const record = await onDisk();
    await annotate(record, `${keys.deletionPolicy}=Kepe`);
    await remove(record);
    expect(await scene.told(record.metadata.name, 'ETCDSnapshotNotDeleted')).toContain('Kepe');
    expect(await files()).toContain(record.spec.snapshotName);
  });
});

describe('a record without spec, which the definition takes', () => {
  it('stops nobody, neither when it comes nor when it goes', async () => {
    const record = { apiVersion: 'k3s.cattle.io/v1', kind: 'ETCDSnapshotFile', metadata: { name: 'empty' } };
    await scene.cluster.put(record);
    await isGone(await withGoneData());
    await scene.cluster.run('annotate', 'etcdsnapshotfile', 'empty', 'some=change');
    await isGone(await withGoneData());
    await scene.cluster.run('delete', 'etcdsnapshotfile', 'empty');
    await isGone(await withGoneData());
    expect((await operator.get('/readyz')).status).toBe(200);
    expect(await operator.part('kubernetes', true)).toBe('');
  });
});

describe('one of two records of a copy', () => {
  it('goes alone while the other lives, and the data go with the last', async () => {
    const first = await onDisk();
    const { metadata: _, status: __, ...rest } = first;
    const twin = {
      ...rest,
      metadata: { name: 'twin-of-it', labels: first.metadata.labels, finalizers: [keys.finalizer] },
    };
    await scene.cluster.put(twin);
    await remove(first);
    expect(await scene.told(first.metadata.name, 'ETCDSnapshotNotDeleted')).toContain('twin-of-it');
    expect(await files()).toContain(first.spec.snapshotName);
    await scene.cluster.run('delete', 'etcdsnapshotfile', 'twin-of-it');
    await until(async () => !(await files()).includes(first.spec.snapshotName));
  });
});

describe('an installation that retains', () => {
  it('keeps the data of deleted records, but for those whose annotation says Delete', async () => {
    await using retaining = await scene.operator({
      node: 'node-2',
      args: ['--deletion-policy=Retain'],
      tuning: quick,
    });
    await retaining.ready();
    const [kept, gone] = [newName('node-2'), newName('node-2')];
    for (const name of [kept, gone]) await copyIn(retaining, name);
    const record = await scene.recordOf(kept, ready);
    await remove(record);
    expect(await scene.told(record.metadata.name, 'ETCDSnapshotRetained')).toContain('Retain');
    const other = await scene.recordOf(gone, ready);
    await annotate(other, `${keys.deletionPolicy}=Delete`);
    await remove(other);
    await isGone(other);
    expect((await readdir(retaining.dir)).filter((name) => !name.startsWith('.'))).toEqual([kept]);
  });
});

describe('a snapshot that is held', () => {
  it('is skipped by the retention of its folder, and does not count', async () => {
    await using saving = await scene.operator({
      node: 'node-3',
      args: ['--snapshot-schedule-cron=@every 1s', '--snapshot-retention=1'],
    });
    const own = () => scene.cluster.records('etcd-snapshot-node-3-');
    await until(async () => (await own()).length > 0);
    const [held] = await own();
    if (held === undefined) throw new Error('no record');
    await annotate(held, `${keys.hold}=audit`);
    const deleted = await saving.metric('deletions_total', { store: 'local' });
    await until(async () => (await saving.metric('deletions_total', { store: 'local' })) >= deleted + 2);
    expect(await saving.stop()).toBe(0);
    const left = (await readdir(saving.dir)).filter((name) => !name.startsWith('.'));
    expect(left).toContain(held.spec.snapshotName);
    expect(left.length).toBeLessThanOrEqual(3);
  });
});

describe('a node that has left the cluster', () => {
  it('its records are let go, also one that waits for it; the files of others stay', async () => {
    const stays = await onDisk();
    const lost = (name: string): ETCDSnapshotFile => ({
      apiVersion: 'k3s.cattle.io/v1',
      kind: 'ETCDSnapshotFile',
      metadata: {
        name: `local-${name}`,
        labels: { [keys.storageNode]: 'node-9' },
        finalizers: [keys.finalizer],
      },
      spec: { snapshotName: name, nodeName: 'node-9', location: `file://${join(operator.dir, name)}` },
      status: { size: '1056', readyToUse: true },
    });
    // Its path is one that exists here too, with a file: a record of another node never speaks of it.
    const [first, second] = [lost(stays.spec.snapshotName), lost(newName('node-9'))];
    const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-9' } };
    await scene.cluster.put(node);
    for (const record of [first, second]) await scene.cluster.put(record, 'create', '--field-manager=k3s');
    await remove(first);
    await operator.looks('local', 3);
    expect(await scene.cluster.record(first.metadata.name)).toBeDefined();
    expect(await scene.cluster.record(second.metadata.name)).toBeDefined();
    await scene.cluster.run('delete', 'node', 'node-9');
    await isGone(second);
    await isGone(first);
    expect(await files()).toContain(stays.spec.snapshotName);
    expect(await scene.cluster.record(stays.metadata.name)).toBeDefined();
  });
});

describe('the definition of the records', () => {
  it('deleted and made again: no data follow it, no hold holds it up, and the records come back, with the hold, also after all operators have ended', async () => {
    const [local, remote] = [await onDisk(), await onS3()];
    await annotate(local, `${keys.hold}=audit`);
    await scene.cluster.run('delete', 'crd', DEFINITION, '--timeout=60s');
    expect(await operator.part('kubernetes', false)).not.toBe('');
    expect(await files()).toContain(local.spec.snapshotName);
    expect(await objects()).toContain(`prod/${remote.spec.snapshotName}`);
    expect(await operator.stop()).toBe(0);
    const { node, dataDir } = operator;
    operator = await scene.operator({ node, dataDir, s3: settings, tuning: quick });
    await scene.makeDefinitions();
    await operator.part('kubernetes', true);
    for (const { spec } of [local, remote]) await scene.recordOf(spec.snapshotName, ready);
    const { metadata } = await scene.recordOf(local.spec.snapshotName);
    expect(metadata.annotations).toMatchObject({ [keys.hold]: 'audit' });
  });

  it('being deleted: nothing is recorded, which is told once, until it is back', async () => {
    const [record, fresh] = [await onDisk(), newName()];
    const began = (await operator.log()).length;
    const { name } = record.metadata;
    const finalizers = (value: unknown) =>
      scene.cluster.run(
        'patch',
        'etcdsnapshotfile',
        name,
        '--type=merge',
        `-p=${JSON.stringify({ metadata: { finalizers: value } })}`,
      );
    // Somebody else's finalizer keeps the definition from going.
    await finalizers([keys.finalizer, 'example.com/waits']);
    await scene.cluster.run('delete', 'crd', DEFINITION, '--wait=false');
    expect(await operator.part('definition', false)).toContain('install it again: kubectl apply -f');
    await copyIn(operator, fresh);
    await until(async () => (await scene.cluster.records()).length === 1);
    const looked = (await operator.log()).length;
    const rounds = () => operator.metric('reconciles_total', { controller: 'etcd', status: 'success' });
    const before = await rounds();
    // In the same time the folder and S3 would have been looked at as often.
    await until(async () => (await rounds()) >= before + 5);
    expect((await scene.cluster.records()).map(({ metadata }) => metadata.name)).toEqual([name]);
    const log = await operator.log();
    expect(log.slice(looked)).not.toContain('Part does not work');
    expect(log.slice(began).match(/Records are neither made nor changed/g)).toHaveLength(1);
    await finalizers(null);
    await scene.cluster.run('wait', '--for=delete', `crd/${DEFINITION}`, '--timeout=60s');
    await scene.makeDefinitions();
    for (const snapshot of [record.spec.snapshotName, fresh]) await scene.recordOf(snapshot, ready);
    expect(await operator.part('definition', true)).toBe('');
  });
});
