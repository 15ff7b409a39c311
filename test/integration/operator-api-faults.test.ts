import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Fault, SeenRequest } from '../support/fault-front.ts';
import { type OperatorScene, startOperatorScene } from '../support/fault-scene.ts';
import { type KubeFront, startKubeFront } from '../support/kube-front.ts';
import type { RunningOperator } from '../support/operators.ts';
import { followRecords } from '../support/record-history.ts';
import { until } from '../support/s3-looks.ts';
import { snapshotBytes } from '../support/store-contract.ts';

const RECORDS = '/apis/k3s.cattle.io/v1/etcdsnapshotfiles';
const HOUR = 3_600_000;

let scene: OperatorScene;
let kube: KubeFront;
let serial = 0;

beforeAll(async () => {
  scene = await startOperatorScene();
  kube = await startKubeFront(scene.kubeconfig, scene.scratch);
});

afterEach(async () => {
  kube.setRule(() => undefined);
  await scene.endAll();
});

afterAll(async () => {
  await kube?.[Symbol.asyncDispose]();
  await scene?.[Symbol.asyncDispose]();
});

const isWatch = ({ path }: SeenRequest) => path.includes('watch=1');
const isRecords = ({ path }: SeenRequest) => path.startsWith(RECORDS);

/** An operator without S3, behind the front. */
function start(): Promise<RunningOperator> {
  serial += 1;
  return scene.start({ node: `api-${serial}`, kubeconfig: kube.kubeconfig });
}

/** A snapshot that somebody puts into the folder. */
async function putFile({ dir }: RunningOperator): Promise<string> {
  serial += 1;
  const name = `by-hand-somebody-${1_730_308_816 + serial}`;
  await writeFile(join(dir, name), snapshotBytes(2), { mode: 0o600 });
  return name;
}

const isThere = async ({ dir }: RunningOperator, name: string) => (await readdir(dir)).includes(name);
const isRecorded = async (name: string) =>
  (await scene.records()).some(({ spec }) => spec.snapshotName === name);

/** What the operator is for, both ways: a file gets its record, and a record that is deleted takes its file along. */
async function works(operator: RunningOperator): Promise<void> {
  const name = await putFile(operator);
  await scene.deleteRecord(await scene.recordOf(name));
  await until(async () => !(await isThere(operator, name)));
  await scene.converge('unused', [operator]);
}

/** Why the operator is not ready, once it says that Kubernetes is what it lacks. */
async function unready(operator: RunningOperator): Promise<string> {
  let reason: string | undefined;
  await until(async () => {
    const { status, text } = await operator.get('/readyz');
    const { parts } = JSON.parse(text) as { parts: { kubernetes: { ready: boolean; reason?: string } } };
    reason = status === 503 && !parts.kubernetes.ready ? parts.kubernetes.reason : undefined;
    return reason !== undefined && !/not started|not been listed/.test(reason);
  });
  return reason ?? '';
}

describe('an API server in trouble', () => {
  it('away and back: what came and went meanwhile is recorded then', async () => {
    const operator = await start();
    await operator.ready();
    const [goes, stays] = [await putFile(operator), await putFile(operator)];
    await Promise.all([goes, stays].map((name) => scene.recordOf(name)));
    scene.plane.kill('SIGKILL');
    expect(await unready(operator)).toMatch(/Kubernetes/);
    const comes = await putFile(operator);
    await rm(join(operator.dir, goes));
    await scene.plane.restart();
    await operator.ready();
    await scene.converge('unused', [operator], { files: 2 });
    expect(await isRecorded(comes)).toBe(true);
    await works(operator);
  });

  it('slow: everything comes, and once', async () => {
    kube.setRule(() => ({ delayMs: 1_500 }));
    const operator = await start();
    await using history = await followRecords(scene.client);
    await works(operator);
    const added = history.changes.filter(({ type }) => type === 'ADDED');
    expect(added).toHaveLength(1);
  });

  const refusals: readonly (readonly [number, string, Fault])[] = [
    [429, 'TooManyRequests', refusal(429, 'TooManyRequests', { 'retry-after': '1' })],
    [500, 'InternalError', refusal(500, 'InternalError')],
    [401, 'Unauthorized', refusal(401, 'Unauthorized')],
  ];
  it.each(refusals)(
    'answers %i %s from the start, and later again: it waits, says so, and goes on',
    async (_code, reason, fault) => {
      let refused = 0;
      const refuse = () => {
        refused += 1;
        return fault;
      };
      kube.setRule(refuse);
      const operator = await start();
      const early = await putFile(operator);
      expect(await unready(operator)).toContain(reason);
      await until(() => refused > 10);
      expect(await isRecorded(early)).toBe(false);
      kube.setRule(() => undefined);
      await operator.ready();
      const record = await scene.recordOf(early);

      refused = 0;
      kube.setRule(refuse);
      await scene.deleteRecord(record);
      const late = await putFile(operator);
      await until(() => refused > 10);
      kube.setRule(() => undefined);
      await until(async () => !(await isThere(operator, early)));
      await scene.recordOf(late);
      await scene.converge('unused', [operator], { files: 1 });
    },
  );

  it('cuts the watch in the middle of a line, again and again: no change is lost, and none comes twice', async () => {
    let cut = 0;
    kube.setRule((request) => {
      if (!isRecords(request) || !isWatch(request)) return undefined;
      cut += 1;
      return cut > 4 ? undefined : { cutAfterResponseBytes: 300 };
    });
    const operator = await start();
    const name = await putFile(operator);
    await using history = await followRecords(scene.client);
    const record = await scene.recordOf(name);
    await scene.deleteRecord(record);
    await until(async () => !(await isThere(operator, name)));
    await scene.converge('unused', [operator], { files: 0 });
    expect(cut).toBeGreaterThan(4);
    expect(history.changes.filter(({ type }) => type === 'ADDED').length).toBeLessThanOrEqual(1);
    const reasons = async () => (await scene.cluster.events(record)).map(({ reason }) => reason);
    await until(async () => (await reasons()).includes('ETCDSnapshotDeleted'));
    expect(await reasons()).toEqual(['ETCDSnapshotCreated', 'ETCDSnapshotDeleted']);
  });

  it('has forgotten the changes since (410 after a compaction): all records are listed anew', async () => {
    const operator = await start();
    await operator.ready();
    const name = await putFile(operator);
    const record = await scene.recordOf(name);
    const version = (await scene.cluster.record(record))?.metadata.resourceVersion ?? '';
    kube.setRule((request) =>
      isWatch(request) && isRecords(request) ? refusal(503, 'ServiceUnavailable') : undefined,
    );
    await scene.plane.restart();
    await scene.deleteRecord(record);
    await scene.plane.etcd.compact();
    await scene.plane.restart();
    await storageIsReady();
    // What the operator knows is out of date, and what it missed cannot be told any more.
    expect(await firstOfWatch(version)).toMatchObject({ type: 'ERROR', object: { code: 410 } });
    expect(await isThere(operator, name)).toBe(true);
    kube.setRule(() => undefined);
    await until(async () => !(await isThere(operator, name)));
    await scene.converge('unused', [operator], { files: 0 });
  });
});

/** An API server that has just come up is ready a moment before its storage is. */
const storageIsReady = () =>
  until(() =>
    scene.records().then(
      () => true,
      () => false,
    ),
  );

async function firstOfWatch(resourceVersion: string): Promise<unknown> {
  const signal = AbortSignal.timeout(30_000);
  for await (const event of scene.client.watch({ path: RECORDS, query: { resourceVersion }, signal }))
    return event;
  return undefined;
}

function refusal(status: number, reason: string, headers: Record<string, string> = {}): Fault {
  const body = { kind: 'Status', apiVersion: 'v1', status: 'Failure', code: status, reason, message: reason };
  return { status, body: JSON.stringify(body), headers: { 'content-type': 'application/json', ...headers } };
}

describe('a clock that is wrong', () => {
  it.each([
    ['fast', HOUR],
    ['slow', -HOUR],
  ])('an hour too %s: no record goes or comes twice, and the operator can lead', async (what, offMs) => {
    const folder = `clock-${what}`;
    const plan = {
      folder,
      args: ['--snapshot-schedule-cron=@every 2s', '--snapshot-retention=0', '--s3-retention=0'],
      tuning: { intervalMs: 300, youngMs: 0 },
    };
    await using history = await followRecords(scene.client);
    const right = await scene.start({ ...plan, node: `${folder}-right` });
    await until(async () => (await scene.objects(folder)).length > 0);
    const wrong = await scene.start({ ...plan, node: `${folder}-wrong`, clock: { offMs } });
    const saved = async ({ node }: RunningOperator) =>
      (await scene.objects(folder)).filter((name) => name.includes(`-${node}-`)).length;
    await until(async () => (await saved(wrong)) >= 2);
    const before = await saved(right);
    await until(async () => (await saved(right)) > before);

    right.kill('SIGTERM');
    await right.exited;
    const changes = history.changes.filter(({ object }) => object.spec.snapshotName.includes(folder));
    expect(changes.filter(({ type }) => type === 'DELETED')).toEqual([]);
    const added = changes.filter(({ type }) => type === 'ADDED').map(({ object }) => object.metadata.name);
    expect(added).toEqual([...new Set(added)]);
    // Leads now: S3 records are its business.
    const [victim] = (await scene.records()).filter(({ spec }) => spec.s3?.prefix === folder);
    await scene.deleteRecord(victim?.metadata.name ?? '');
    await until(async () => !(await scene.objects(folder)).includes(victim?.spec.snapshotName ?? ''));
    wrong.kill('SIGTERM');
    await wrong.exited;
    const { node, dataDir } = wrong;
    const quiet = await scene.start({ node, dataDir, folder, tuning: plan.tuning, clock: { offMs } });
    await scene.converge(folder, [quiet]);
    const taken = (await scene.objects(folder)).filter((name) => name.includes(`-${node}-`));
    const seconds = taken.map((name) => Number(/(\d+)$/.exec(name)?.[1]));
    for (const second of seconds)
      expect(Math.abs(second * 1_000 - offMs - Date.now())).toBeLessThan(HOUR / 2);
  });
});
