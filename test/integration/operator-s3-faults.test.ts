import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Fault, SeenRequest } from '../support/fault-front.ts';
import { type OperatorScene, startOperatorScene } from '../support/fault-scene.ts';
import type { RunningOperator } from '../support/operators.ts';
import { followRecords } from '../support/record-history.ts';
import { until } from '../support/s3-looks.ts';
import { smallDisk } from '../support/small-disk.ts';
import { snapshotBytes } from '../support/store-contract.ts';

const MIB = 1024 * 1024;
/** Of the operator's time; in the test they take six seconds. */
const HOUR = 3_600_000;
const SPEED = 600;
const EVERY_SECOND = '--snapshot-schedule-cron=@every 1s';
const KEEP_ALL = ['--snapshot-retention=0', '--s3-retention=0'];

let scene: OperatorScene;
let serial = 0;

beforeAll(async () => {
  scene = await startOperatorScene();
  // Enough for an upload in several parts.
  await scene.plane.etcd.fill(18 * MIB);
});

afterEach(() => scene.endAll());

afterAll(() => scene?.[Symbol.asyncDispose]());

const named = () => {
  serial += 1;
  return `s3-${serial}`;
};

/** Objects that somebody put there, and their records' names once they are recorded. */
async function objectsIn(folder: string, count: number): Promise<readonly string[]> {
  const names = Array.from({ length: count }, (_, at) => `by-hand-somebody-${1_730_308_816 + at}`);
  for (const name of names) {
    const put = { Bucket: scene.bucket, Key: `${folder}/${name}`, Body: snapshotBytes(2) };
    await scene.s3.client().send(new PutObjectCommand(put));
  }
  return names;
}

const isListing = ({ method, path }: SeenRequest) => method === 'GET' && path.includes('list-type=2');
const reasonsOf = async (record: string) => (await scene.cluster.events(record)).map(({ reason }) => reason);
const finals = async ({ dir }: RunningOperator) =>
  (await readdir(dir)).filter((name) => !name.startsWith('.'));
const failures = async ({ node }: RunningOperator) =>
  (await scene.records())
    .filter(({ metadata }) => metadata.name.includes(node))
    .flatMap(({ status }) => status?.error?.message ?? []);

async function part(operator: RunningOperator, name: string) {
  const { text } = await operator.get('/readyz');
  type Parts = Readonly<Record<string, { readonly ready: boolean; readonly reason?: string }>>;
  return (JSON.parse(text) as { parts: Parts }).parts[name];
}

/** The front passes nothing, and counts what it kept. */
function away(fault: Fault): { readonly refused: () => number } {
  let refused = 0;
  scene.front.setRule(() => {
    refused += 1;
    return fault;
  });
  return { refused: () => refused };
}

const error = (status: number, code: string): Fault => ({
  status,
  body: `<?xml version="1.0"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`,
  headers: { 'content-type': 'application/xml' },
});

describe('S3 away', () => {
  it('for an hour, and back: records stay, deletions wait where all can see it, and then happen', async () => {
    const folder = named();
    const [doomed = '', ...others] = await objectsIn(folder, 3);
    const clock = { speed: SPEED };
    const tuning = { intervalMs: 60_000, youngMs: 60_000, leaseDurationMs: 3_000 * SPEED };
    const operator = await scene.start({ node: folder, folder, clock, tuning });
    const record = await scene.recordOf(doomed);
    await Promise.all(others.map((name) => scene.recordOf(name)));

    await using history = await followRecords(scene.client);
    const { refused } = away(error(503, 'SlowDown'));
    const back = performance.now() + HOUR / SPEED;
    await scene.deleteRecord(record);
    await until(async () => (await reasonsOf(record)).includes('ETCDSnapshotDeleteFailed'));
    await until(() => performance.now() > back);
    expect(refused()).toBeGreaterThan(10);
    expect(await operator.part('s3', false)).toMatch(/S3|s3/);
    expect((await operator.get('/readyz')).status).toBe(200);
    expect(await scene.cluster.record(record)).toBeDefined();
    expect(history.changes.filter(({ type }) => type === 'DELETED')).toEqual([]);

    scene.front.setRule(() => undefined);
    await scene.converge(folder, [operator], { objects: 2 });
    await until(async () => (await reasonsOf(record)).includes('ETCDSnapshotDeleted'));
    await until(async () => (await part(operator, 's3'))?.ready === true);
  });

  it('while it saves: the copy on disk stands, the failed one is recorded, and the next goes up again', async () => {
    const folder = named();
    const operator = await scene.start({ node: folder, folder, args: [EVERY_SECOND, ...KEEP_ALL] });
    away({ cutAfterRequestBytes: 0 });
    await until(async () => (await failures(operator)).length > 0);
    expect((await finals(operator)).length).toBeGreaterThan(0);
    expect(await scene.objects(folder)).toEqual([]);
    scene.front.setRule(() => undefined);
    await until(async () => (await scene.objects(folder)).length > 0);
    await settle(operator, folder);
  });

  it('silent when the operator is told to end: the copy on disk stands, and the one that is given up is recorded', async () => {
    const folder = named();
    away('hang');
    const args = [EVERY_SECOND, ...KEEP_ALL, '--grace-period=1s'];
    const operator = await scene.start({ node: folder, folder, args });
    await until(async () => (await finals(operator)).length > 0);
    operator.kill('SIGTERM');
    expect(await operator.exited).toBe(0);
    const [file = ''] = await finals(operator);
    const message = expect.stringContaining('told to end');
    const records = (await scene.records()).filter(({ spec }) => spec.snapshotName === file);
    expect(records.toSorted((a, b) => (a.spec.nodeName < b.spec.nodeName ? 1 : -1))).toMatchObject([
      { spec: { nodeName: folder }, status: { readyToUse: true } },
      {
        spec: { nodeName: 's3', location: `s3://${scene.bucket}/${folder}/${file}` },
        status: { error: { message } },
      },
    ]);
  });

  it('silent while leftovers are looked for: a save does not wait for that, and does not fail of it', async () => {
    const folder = named();
    let held = 0;
    scene.front.setRule(({ method, path }) => {
      if (method !== 'GET' || !/[?&]uploads\b/.test(path)) return undefined;
      held += 1;
      return held === 1 ? 'hang' : undefined;
    });
    const operator = await scene.start({ node: folder, folder, args: [EVERY_SECOND, ...KEEP_ALL] });
    await until(() => held > 0);
    await until(async () => (await scene.objects(folder)).length > 0);
    expect(await failures(operator)).toEqual([]);
    await settle(operator, folder);
  });
});

/** Ends the saves, and has a look at what there is in the end. */
async function settle(operator: RunningOperator, folder: string): Promise<void> {
  const { node, dataDir } = operator;
  operator.kill('SIGTERM');
  await operator.exited;
  const quiet = await scene.start({ node, dataDir, folder, tuning: { intervalMs: 500 } });
  await until(async () => (await part(quiet, 's3'))?.ready === true);
  const failed = await failures(quiet);
  await scene.converge(folder, [quiet], { failed: failed.length });
}

describe('half a listing', () => {
  const truncated = (folder: string, key: string): Fault => ({
    status: 200,
    headers: { 'content-type': 'application/xml' },
    body: `<?xml version="1.0"?><ListBucketResult><Name>${scene.bucket}</Name><Prefix>${folder}/</Prefix>
<IsTruncated>true</IsTruncated><NextContinuationToken>more</NextContinuationToken><KeyCount>1</KeyCount>
<Contents><Key>${folder}/${key}</Key><Size>1056</Size><ETag>"x"</ETag><LastModified>2026-11-22T09:00:00Z</LastModified>
</Contents></ListBucketResult>`,
  });

  it.each([
    {
      what: 'the second page is refused',
      rule: (folder: string, first: string) => (request: SeenRequest) => {
        if (!isListing(request) || request.path.includes('.metadata')) return undefined;
        return request.path.includes('continuation-token')
          ? error(500, 'InternalError')
          : truncated(folder, first);
      },
    },
    {
      what: 'the answer breaks off',
      rule: () => (request: SeenRequest) => (isListing(request) ? { cutAfterResponseBytes: 400 } : undefined),
    },
  ])('$what: no record goes', async ({ rule }) => {
    const folder = named();
    const names = await objectsIn(folder, 4);
    const operator = await scene.start({ node: folder, folder, tuning: { intervalMs: 200, youngMs: 0 } });
    await Promise.all(names.map((name) => scene.recordOf(name)));
    await scene.converge(folder, [operator], { objects: 4 });
    await using history = await followRecords(scene.client);
    const seen = scene.front.requests.length;
    scene.front.setRule(rule(folder, names[0] ?? ''));
    await until(async () => (await part(operator, 's3'))?.ready === false);
    await until(() => scene.front.requests.slice(seen).filter(isListing).length > 6);
    expect(history.changes).toEqual([]);
    scene.front.setRule(() => undefined);
    await until(async () => (await part(operator, 's3'))?.ready === true);
    await scene.converge(folder, [operator], { objects: 4 });
    expect(history.changes).toEqual([]);
  });
});

it('credentials are revoked in the middle of an upload: it is recorded, and nothing of it is left once they are back', async () => {
  const folder = named();
  let revoked = false;
  scene.front.setRule(({ path }) => {
    revoked ||= path.includes('partNumber=2');
    return revoked ? error(403, 'InvalidAccessKeyId') : undefined;
  });
  const operator = await scene.start({ node: folder, folder, args: [EVERY_SECOND, ...KEEP_ALL] });
  await until(async () => (await failures(operator)).length > 0);
  expect((await failures(operator))[0]).toMatch(/does not know this access key/);
  await operator.part('schedule', false);
  expect((await finals(operator)).length).toBeGreaterThan(0);
  expect(await scene.openUploads(folder)).not.toEqual([]);
  const record = (await scene.records()).find(({ status }) =>
    /access key/.test(status?.error?.message ?? ''),
  );
  expect(JSON.stringify(record)).not.toContain(scene.s3.secretKey);
  expect(await operator.log()).not.toContain(scene.s3.secretKey);
  scene.front.setRule(() => undefined);
  await until(async () => (await scene.objects(folder)).length > 0);
  await settle(operator, folder);
});

it('the disk is full: that is recorded, nothing half-made stays, and with room it saves again', async () => {
  const folder = named();
  await using disk = await smallDisk(64 * MIB);
  await writeFile(join(disk.path, 'filling'), Buffer.alloc(56 * MIB));
  const operator = await scene.start({
    node: folder,
    folder,
    dataDir: disk.path,
    args: [EVERY_SECOND, '--snapshot-retention=1', '--s3-retention=1'],
  });
  await until(async () => (await failures(operator)).length > 0);
  expect((await failures(operator)).join('\n')).toMatch(/space|full/);
  await operator.part('schedule', false);
  expect(await finals(operator)).toEqual([]);
  expect(await scene.objects(folder)).toEqual([]);
  await rm(join(disk.path, 'filling'));
  await until(async () => (await finals(operator)).length > 0 && (await scene.objects(folder)).length > 0);
  await settle(operator, folder);
  await scene.endAll();
});
