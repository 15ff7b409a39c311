import {
  CreateBucketCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  PutObjectLegalHoldCommand,
  PutObjectLockConfigurationCommand,
  PutObjectRetentionCommand,
} from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { pruneSnapshots } from '../../src/snapshot/prune-snapshots.ts';
import { createS3Store } from '../../src/stores/s3-store.ts';
import { GrowingBytes } from '../support/growing-bytes.ts';
import { type OperatorScene, putObject, startScene } from '../support/operator-scene.ts';
import { until } from '../support/s3-looks.ts';
import { type S3Server, s3Kinds, startS3 } from '../support/s3-server.ts';
import { snapshotBytes, uploadOf } from '../support/store-contract.ts';

const never = new AbortController().signal;
const quick = { program: 'k3s', nodeName: 'node-1', firstRetryMs: 1 } as const;
const name = (seconds: number) => `etcd-snapshot-node-1-${seconds}`;
const tomorrow = () => new Date(Date.now() + 86_400_000);

/** A bucket that can lock objects, and locks each one for a day when told so. */
async function lockable(s3: S3Server, Bucket: string, always = false): Promise<void> {
  await s3.client().send(new CreateBucketCommand({ Bucket, ObjectLockEnabledForBucket: true }));
  if (!always) return;
  const Rule = { DefaultRetention: { Mode: 'COMPLIANCE' as const, Days: 1 } };
  await s3.client().send(
    new PutObjectLockConfigurationCommand({
      Bucket,
      ObjectLockConfiguration: { ObjectLockEnabled: 'Enabled', Rule },
    }),
  );
}

const keysIn = async (s3: S3Server, Bucket: string) =>
  ((await s3.client().send(new ListObjectsV2Command({ Bucket }))).Contents ?? []).map(({ Key }) => Key);

describe.each(s3Kinds)('a bucket with object lock on %s', (kind) => {
  let s3: S3Server;
  beforeAll(async () => {
    s3 = await startS3({ kind });
  });
  afterAll(() => s3?.[Symbol.asyncDispose]());

  const put = (store: ReturnType<typeof createS3Store>, of: string) =>
    store.put(
      uploadOf(of, GrowingBytes.whole(snapshotBytes(2)), {
        nodeName: 'node-1',
        facts: Promise.resolve({ clusterId: 'here' }),
      }),
      never,
    );

  it('takes snapshots, and says until when one that is locked by its rule stays', async () => {
    await lockable(s3, 'always', true);
    const store = createS3Store(s3.settings('always', 'prod'), quick);
    await put(store, name(1));
    await expect(store.remove(name(1), never)).rejects.toMatchObject({
      code: 'locked',
      why: expect.stringMatching(/^it is locked until 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
    });
    expect(await store.list(never)).toMatchObject([{ name: name(1) }]);
  });

  it('keeps what is locked or held, and retention goes on with the others', async () => {
    await lockable(s3, 'some');
    const store = createS3Store(s3.settings('some', 'prod'), quick);
    for (const seconds of [1, 2, 3, 4, 5]) await put(store, name(seconds));
    const until = tomorrow();
    const target = (seconds: number) => ({ Bucket: 'some', Key: `prod/${name(seconds)}` });
    await s3.client().send(
      new PutObjectRetentionCommand({
        ...target(1),
        Retention: { Mode: 'GOVERNANCE', RetainUntilDate: until },
      }),
    );
    await s3.client().send(new PutObjectLegalHoldCommand({ ...target(3), LegalHold: { Status: 'ON' } }));
    const policy = { base: 'etcd-snapshot', keep: 1, clusterId: 'here', held: () => false };
    const { deleted, failures } = await pruneSnapshots(store, policy, never);
    expect(deleted.map((one) => one.name)).toEqual([name(2), name(4)]);
    expect(failures).toMatchObject([
      {
        name: name(1),
        error: { code: 'locked', why: `it is locked until ${until.toISOString().slice(0, 19)}Z` },
      },
      { name: name(3), error: { code: 'locked', why: expect.stringContaining('legal hold') } },
    ]);
    expect(await keysIn(s3, 'some')).toEqual([1, 3, 5].map((seconds) => `prod/${name(seconds)}`));
    await s3.client().send(new PutObjectLegalHoldCommand({ ...target(3), LegalHold: { Status: 'OFF' } }));
    expect(await store.remove(name(3), never)).toBe(true);
  });

  it('keeps a snapshot whose metadata are still locked, for nobody would come back for them', async () => {
    await lockable(s3, 'sidecars');
    const store = createS3Store(s3.settings('sidecars', 'prod'), quick);
    const client = s3.client();
    const lock = (Key: string, RetainUntilDate: Date) =>
      client.send(
        new PutObjectCommand({
          Bucket: 'sidecars',
          Key,
          Body: snapshotBytes(2),
          ObjectLockMode: 'GOVERNANCE',
          ObjectLockRetainUntilDate: RetainUntilDate,
          ChecksumAlgorithm: 'CRC32',
        }),
      );
    const soon = Date.now() + 2_000;
    await lock(`prod/${name(1)}`, new Date(soon));
    await lock(`prod/.metadata/${name(1)}`, tomorrow());
    await until(() => Date.now() > soon + 1_000);
    await expect(store.remove(name(1), never)).rejects.toMatchObject({
      code: 'locked',
      message: expect.stringContaining('metadata'),
    });
    expect(await keysIn(s3, 'sidecars')).toHaveLength(2);
  });
});

describe('an operator beside object lock (MinIO)', () => {
  let s3: S3Server;
  let scene: OperatorScene;
  beforeAll(async () => {
    [s3, scene] = await Promise.all([startS3({ kind: 'minio' }), startScene()]);
    await lockable(s3, 'etcd');
  });
  afterAll(async () => {
    await scene?.[Symbol.asyncDispose]();
    await s3?.[Symbol.asyncDispose]();
  });

  it('tells until when a snapshot past retention, or of a deleted record, is locked, and deletes the others', async () => {
    const origin = { cluster: scene.clusterId, node: 'node-1' };
    const [oldest, older] = [name(1_730_000_001), name(1_730_000_002)];
    const unlocked = tomorrow();
    const lock = (one: string) =>
      s3.client().send(
        new PutObjectRetentionCommand({
          Bucket: 'etcd',
          Key: `prod/${one}`,
          Retention: { Mode: 'GOVERNANCE', RetainUntilDate: unlocked },
        }),
      );
    for (const one of [oldest, older]) await putObject(s3, 'etcd', `prod/${one}`, origin);
    await lock(oldest);
    await using operator = await scene.operator({
      node: 'node-1',
      s3: s3.settings('etcd', 'prod'),
      args: ['--snapshot-schedule-cron=0 0 29 2 *', '--s3-retention=1'],
      tuning: { intervalMs: 300 },
    });
    // Only a new upload drives old ones out, and none that was recorded in the same moment.
    const found = await Promise.all([oldest, older].map((one) => scene.recordOf(one)));
    const foundAt = Math.max(...found.map(({ metadata }) => Date.parse(metadata.creationTimestamp ?? '')));
    await until(() => Date.now() - foundAt > 2_000);
    const newest = name(Math.ceil(Date.now() / 1_000) + 1);
    await putObject(s3, 'etcd', `prod/${newest}`, origin);
    await lock(newest);
    await scene.gone(older);
    const locked = `locked until ${unlocked.toISOString().slice(0, 19)}Z`;
    const record = await scene.recordOf(oldest);
    expect(await scene.told(record.metadata.name, 'ETCDSnapshotLocked')).toBe(
      `Snapshot ${oldest} is past retention and stays: it is ${locked}`,
    );
    expect(await operator.metric('deletion_failures_total')).toBe(0);

    const wanted = await scene.recordOf(newest);
    await scene.cluster.run('delete', 'etcdsnapshotfile', wanted.metadata.name, '--wait=false');
    expect(await scene.told(wanted.metadata.name, 'ETCDSnapshotLocked')).toBe(
      `Snapshot ${newest} not deleted yet, record and data stay: it is ${locked}`,
    );
    expect((await scene.recordOf(newest)).metadata.deletionTimestamp).toBeDefined();
    expect(await keysIn(s3, 'etcd')).toEqual([`prod/${oldest}`, `prod/${newest}`]);
  });
});
