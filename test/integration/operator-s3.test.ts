import { randomUUID } from 'node:crypto';
import {
  DeleteObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { S3Settings } from '../../src/config/types.ts';
import { recordKeys } from '../../src/crds/etcd-snapshot-file.ts';
import { toSnapshotFile } from '../../src/crds/mapping.ts';
import { resourceName } from '../../src/crds/resource-name.ts';
import { type Fault, type FaultFront, type SeenRequest, startFaultFront } from '../support/fault-front.ts';
import { type ObjectOrigin, type OperatorScene, putObject, startScene } from '../support/operator-scene.ts';
import type { RunningOperator } from '../support/operators.ts';
import { until } from '../support/s3-looks.ts';
import { type S3Server, s3Kinds, startS3 } from '../support/s3-server.ts';

const BUCKET = 'etcd';
const keys = recordKeys('k3s');
/** Looks at S3 three times a second, so that a test sees many looks. */
const often = { intervalMs: 300 };

let scene: OperatorScene;
/** Another cluster altogether. */
let other: OperatorScene;

beforeAll(async () => {
  [scene, other] = await Promise.all([startScene(), startScene()]);
});

afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
  await other?.[Symbol.asyncDispose]();
});

describe.each(s3Kinds)('S3 on %s', (kind) => {
  let s3: S3Server;
  let front: FaultFront;
  // Records are named after bucket and key: the two servers must not have the same.
  let serial = kind === 'minio' ? 1_730_308_816 : 1_720_000_000;

  beforeAll(async () => {
    s3 = await startS3({ kind });
    await s3.createBucket(BUCKET);
    front = await startFaultFront(s3.url);
  });

  afterAll(async () => {
    await front?.[Symbol.asyncDispose]();
    await s3?.[Symbol.asyncDispose]();
  });

  const newName = (base = 'by-hand', node = 'node-1') => {
    serial += 1;
    return `${base}-${node}-${serial}`;
  };
  const viaFront = (folder: string): S3Settings => ({
    ...s3.settings(BUCKET, folder),
    endpoint: front.endpoint,
  });
  const put = (key: string, origin?: ObjectOrigin) => putObject(s3, BUCKET, key, origin);
  const ours = (node = 'node-1') => ({ cluster: scene.clusterId, node });
  const remove = (key: string) => s3.client().send(new DeleteObjectCommand({ Bucket: BUCKET, Key: key }));
  const objects = async (prefix: string) => {
    const page = await s3.client().send(new ListObjectsV2Command({ Bucket: BUCKET, Prefix: prefix }));
    return (page.Contents ?? []).map(({ Key = '' }) => Key.slice(prefix.length));
  };
  const leading = async (operator: RunningOperator) =>
    until(async () => (await operator.metric('leader')) === 1);
  const listings = ({ method, path }: SeenRequest) => method === 'GET' && path.includes('list-type=2');

  it('an object gets the record that k3s would make, with its metadata, its origin and an Event', async () => {
    const name = newName();
    const origin = { ...ours('node-7'), tokenHash: '2bb80d537b1d' };
    const sidecar = { Bucket: BUCKET, Key: `there/.metadata/${name}`, Body: '{"team":"a"}' };
    await s3.client().send(new PutObjectCommand(sidecar));
    await put(`there/${name}`, origin);
    const unknown = newName('of-nobody');
    await put(`there/${unknown}`);
    await using _operator = await scene.operator({
      node: 'node-1',
      s3: s3.settings(BUCKET, 'there'),
      tuning: often,
    });
    const record = await scene.recordOf(name);
    const location = `s3://${BUCKET}/there/${name}`;
    const createdAt = new Date(Number(name.split('-').at(-1)) * 1000);
    expect(record).toMatchObject({
      metadata: {
        name: resourceName({ snapshotName: name, nodeName: 's3', location, createdAt, compressed: false }),
        labels: { [keys.storageNode]: 's3' },
        annotations: { [keys.sourceNode]: 'node-7', [keys.tokenHash]: '2bb80d537b1d' },
      },
      spec: {
        snapshotName: name,
        nodeName: 's3',
        location,
        metadata: { team: 'a' },
        s3: { endpoint: s3.endpoint, bucket: BUCKET, prefix: 'there', region: 'us-east-1', insecure: true },
      },
      status: { size: '1056', readyToUse: true },
    });
    expect(JSON.stringify(record)).not.toContain(s3.secretKey);
    expect(await scene.told(record.metadata.name, 'ETCDSnapshotCreated')).toBe(
      `Snapshot ${name} saved on S3`,
    );
    await scene.recordOf(unknown);

    await remove(`there/${name}`);
    await scene.gone(name);
    expect(await scene.told(record.metadata.name, 'ETCDSnapshotDeleted')).toBe(`Snapshot ${name} deleted`);
    await scene.recordOf(unknown);
  });

  it('folder a never sees ab/, nor what lies deeper', async () => {
    const [inside, beside, deeper] = [newName(), newName(), newName()];
    await put(`ab/${beside}`, ours());
    await put(`a/b/${deeper}`, ours());
    await put(`a/${inside}`, ours());
    await using operator = await scene.operator({
      node: 'node-1',
      s3: s3.settings(BUCKET, 'a'),
      tuning: often,
    });
    await scene.recordOf(inside);
    await operator.looks('s3', 2);
    expect(await scene.cluster.records(beside)).toEqual([]);
    expect(await scene.cluster.records(deeper)).toEqual([]);
  });

  it('a record goes only after a complete listing that lacks it, whatever breaks before', async () => {
    const [gone, stays] = [newName(), newName()];
    for (const name of [gone, stays]) await put(`faults/${name}`, ours());
    await using operator = await scene.operator({
      node: 'node-1',
      s3: viaFront('faults'),
      tuning: { ...often, youngMs: 0 },
    });
    const before = await scene.recordOf(gone);
    await scene.recordOf(stays);

    const onFirstPage = `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><IsTruncated>true</IsTruncated>
      <NextContinuationToken>more</NextContinuationToken></ListBucketResult>`;
    const xml = { 'content-type': 'application/xml' };
    const denied = { status: 403, headers: xml, body: '<Error><Code>AccessDenied</Code></Error>' };
    const listing = (fault: Fault) => (request: SeenRequest) => (listings(request) ? fault : undefined);
    const rules: readonly ((request: SeenRequest) => Fault | undefined)[] = [
      listing({ status: 500, headers: xml, body: '<Error><Code>InternalError</Code></Error>' }),
      listing({ cutAfterResponseBytes: 60 }),
      // The first page comes, and is empty; the keys are taken away before the second one.
      (request) => {
        if (!listings(request)) return undefined;
        return request.path.includes('continuation-token')
          ? denied
          : { status: 200, headers: xml, body: onFirstPage };
      },
      () => denied,
    ];
    await operator.looks('s3', 1);
    // Nothing is listed any more before the object goes, so that no look in between sees it gone.
    front.setRule(() => denied);
    await operator.looks('s3', 1, 'error');
    await remove(`faults/${gone}`);
    for (const rule of rules) {
      front.setRule(rule);
      const seen = front.requests.length;
      await until(() => front.requests.slice(seen).some(listings));
      await operator.looks('s3', 1, 'error');
      expect(await scene.cluster.record(before.metadata.name)).toEqual(before);
    }
    expect(await operator.part('s3', false)).not.toBe('');

    // The listing is whole, but the object cannot be asked for once more: its record stays too.
    front.setRule(({ method }) => (method === 'HEAD' ? denied : undefined));
    await operator.looks('s3', 2, 'error');
    expect(await scene.cluster.record(before.metadata.name)).toEqual(before);

    front.setRule(() => undefined);
    await scene.gone(gone);
    await scene.recordOf(stays);
    await operator.part('s3', true);
  });

  it('records of another bucket, endpoint or prefix are left alone', async () => {
    const place = { endpoint: s3.endpoint, bucket: BUCKET, prefix: 'place', insecure: true };
    const claim = (name: string, where: Readonly<Record<string, unknown>>) => {
      const claimed = { ...place, ...where };
      return {
        apiVersion: 'k3s.cattle.io/v1',
        kind: 'ETCDSnapshotFile',
        metadata: { name: `s3-${name}`, labels: { [keys.storageNode]: 's3' } },
        spec: {
          snapshotName: name,
          nodeName: 's3',
          location: `s3://${claimed.bucket}/${claimed.prefix}/${name}`,
          s3: claimed,
        },
        status: { size: '1056', readyToUse: true, creationTime: '2024-10-30T17:20:16Z' },
      };
    };
    const mine = newName();
    const foreign = [{ bucket: 'other' }, { endpoint: 'elsewhere:9000' }, { prefix: 'place2' }].map((where) =>
      claim(newName(), where),
    );
    for (const record of [claim(mine, {}), ...foreign])
      await scene.cluster.put(record, 'create', '--field-manager=k3s');
    await using operator = await scene.operator({
      node: 'node-1',
      s3: s3.settings(BUCKET, 'place'),
      tuning: { ...often, youngMs: 0 },
    });
    await scene.gone(mine);
    await operator.looks('s3', 2);
    for (const { metadata, spec, status } of foreign) {
      expect(await scene.cluster.record(metadata.name)).toMatchObject({ spec, status });
    }
  });

  it('an unchanged folder costs listings only, and no write, also after a change of leader', async () => {
    const names = [newName(), newName(), newName()];
    for (const name of names) await put(`quiet/${name}`, ours());
    await s3
      .client()
      .send(new PutObjectCommand({ Bucket: BUCKET, Key: `quiet/.metadata/${names[0]}`, Body: '{"a":"b"}' }));
    const settings = { s3: viaFront('quiet'), tuning: often };
    await using first = await scene.operator({ node: 'node-1', ...settings });
    await leading(first);
    const records = async () => Promise.all(names.map((name) => scene.recordOf(name)));
    await Promise.all(
      names.map((name) => scene.recordOf(name, ({ metadata }) => metadata.finalizers !== undefined)),
    );
    await first.looks('s3', 2);
    const before = await records();
    const from = front.requests.length;
    await first.looks('s3', 3);
    const until1 = front.requests.length;
    expect(front.requests.slice(from, until1).filter((request) => !listings(request))).toEqual([]);
    expect(until1 - from).toBeGreaterThan(3);

    await using second = await scene.operator({ node: 'node-2', ...settings });
    await second.ready();
    expect(await first.stop()).toBe(0);
    const change = front.requests.length;
    await leading(second);
    await second.looks('s3', 3);
    const asked = front.requests.slice(change);
    // What a dead save of the new node may have left is looked for at its start, and whether S3 answers, by other calls.
    const ofStart = /uploads|etcd-snapshot-operator-asks/;
    const more = asked.filter((request) => !listings(request) && !ofStart.test(request.path));
    expect(more).toEqual([]);
    expect(await records()).toEqual(before);
  });

  it('retention counts the schedule’s snapshots of each node, only of this cluster, and none that is held', async () => {
    const [a, b] = ['node-1', 'node-8'].map((node) =>
      Array.from({ length: 4 }, () => newName('nightly', node)),
    ) as [string[], string[]];
    for (const name of a) await put(`keep/${name}`, ours('node-1'));
    for (const name of b) await put(`keep/${name}`, ours('node-8'));
    const foreign = newName('nightly');
    const unknown = newName('nightly');
    const onDemand = newName('nightly2');
    await put(`keep/${foreign}`, { cluster: randomUUID(), node: 'node-1' });
    await put(`keep/${unknown}`);
    await put(`keep/${onDemand}`, ours('node-1'));
    // Held before there is a schedule that could take it.
    {
      await using watcher = await scene.operator({
        node: 'node-1',
        s3: s3.settings(BUCKET, 'keep'),
        tuning: often,
      });
      const record = await scene.recordOf(a[0] ?? '');
      await scene.cluster.run('annotate', 'etcdsnapshotfile', record.metadata.name, `${keys.hold}=audit`);
      expect(await watcher.stop()).toBe(0);
    }
    await using operator = await scene.operator({
      node: 'node-1',
      s3: s3.settings(BUCKET, 'keep'),
      // Nothing is said of S3: what is said of the disk holds there too.
      args: ['--snapshot-schedule-cron=@every 876000h', '--name=nightly', '--snapshot-retention=2'],
      tuning: often,
    });
    // That they are found is no save, and no reason to delete one.
    const found = await Promise.all([...a, ...b].map((name) => scene.recordOf(name)));
    const foundAt = Math.max(...found.map(({ metadata }) => Date.parse(metadata.creationTimestamp ?? '')));
    await operator.looks('s3', 2);
    expect(await objects('keep/')).toEqual(expect.arrayContaining([...a, ...b]));
    await until(async () => Date.now() - foundAt > 2_000);
    const saved = ['node-1', 'node-8'].map((node) => `nightly-${node}-${Math.ceil(Date.now() / 1_000) + 1}`);
    for (const [at, name] of saved.entries()) await put(`keep/${name}`, ours(['node-1', 'node-8'][at]));
    await scene.gone(a[2] ?? '');
    await scene.gone(b[2] ?? '');
    await operator.looks('s3', 2);
    const gone = new Set([a[1], a[2], b[0], b[1], b[2]]);
    const expected = [...a, ...b, ...saved, foreign, unknown, onDemand].filter((name) => !gone.has(name));
    expect(new Set(await objects('keep/'))).toEqual(new Set(expected));
    expect(await scene.cluster.records(foreign)).toEqual([]);
    expect(await operator.metric('deletions_total', { store: 's3' })).toBe(5);
  });

  it('retention believes no record that came with a backup of another cluster', async () => {
    const names = [1, 2, 3].map(() => newName('copied'));
    for (const name of names) await put(`copied/${name}`, { cluster: randomUUID(), node: 'node-1' });
    const s3Settings = s3.settings(BUCKET, 'copied');
    // As an operator of that cluster has written them: the ETag stands for "looked up, and ours".
    for (const name of names) {
      const head = await s3.client().send(new HeadObjectCommand({ Bucket: BUCKET, Key: `copied/${name}` }));
      const etag = head.ETag?.replaceAll('"', '') ?? '';
      const { endpoint, bucket } = s3Settings;
      const location = { store: 's3', endpoint, bucket, prefix: 'copied', key: `copied/${name}` } as const;
      const copy = toSnapshotFile(
        {
          name,
          nodeName: 'node-1',
          createdAt: new Date(Number(name.split('-').at(-1)) * 1000),
          size: head.ContentLength ?? 0,
          compressed: false,
          location: { ...location, region: 'us-east-1', insecure: true, skipSSLVerify: false },
          clusterId: scene.clusterId,
          etag,
        },
        'k3s',
      );
      await scene.cluster.put(copy);
    }
    await using operator = await scene.operator({
      node: 'node-1',
      s3: s3Settings,
      args: ['--snapshot-schedule-cron=@every 1s', '--name=copied', '--s3-retention=1'],
      tuning: often,
    });
    // Its own are past retention by then, and these three are older.
    await until(async () => (await operator.metric('deletions_total', { store: 's3' })) > 0);
    await operator.looks('s3', 2);
    expect(await objects('copied/')).toEqual(expect.arrayContaining(names));
  });

  it('two clusters in one folder never touch each other’s objects and records', async () => {
    const folder = 'shared';
    const start = (which: OperatorScene, node: string, every: string) =>
      which.operator({
        node,
        s3: s3.settings(BUCKET, folder),
        args: [`--snapshot-schedule-cron=@every ${every}`, '--s3-retention=1', '--snapshot-retention=1'],
        tuning: { ...often, youngMs: 0 },
      });
    const theirs = newName('etcd-snapshot');
    await putObject(s3, BUCKET, `${folder}/${theirs}`, { cluster: other.clusterId, node: 'node-1' });
    await using one = await start(scene, 'node-1', '1s');
    await using two = await start(other, `of-${kind}`, '1s');
    for (const operator of [one, two])
      await until(async () => (await operator.metric('deletions_total', { store: 's3' })) >= 2);
    expect(await one.stop()).toBe(0);
    expect(await two.stop()).toBe(0);

    // Each has recorded its own only. What was there of the other, an old snapshot past its retention, is still there:
    // the node that took it has no schedule any more in the cluster that it belongs to.
    const at = (records: readonly { spec: { location: string } }[]) =>
      records.map(({ spec }) => spec.location).filter((location) => location.includes(`/${folder}/`));
    const mine = at(await scene.cluster.records(`etcd-snapshot-node-1-`));
    const yours = at(await other.cluster.records(`etcd-snapshot-of-${kind}-`));
    expect(mine.length).toBeGreaterThan(0);
    expect(yours.length).toBeGreaterThan(0);
    expect(at(await scene.cluster.records(theirs))).toEqual([]);
    expect(at(await other.cluster.records(theirs))).toHaveLength(1);
    expect(at(await scene.cluster.records(`-of-${kind}-`))).toEqual([]);
    const left = (await objects(`${folder}/`)).map((name) => `s3://${BUCKET}/${folder}/${name}`);
    const newest = [mine, yours].map((locations) => locations.toSorted().at(-1));
    expect(left).toEqual(expect.arrayContaining([...newest, `s3://${BUCKET}/${folder}/${theirs}`]));
  });
});
