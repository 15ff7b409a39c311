import { readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Fault, SeenRequest } from '../support/fault-front.ts';
import { type OperatorScene, startOperatorScene, type Wanted } from '../support/fault-scene.ts';
import { type KubeFront, startKubeFront } from '../support/kube-front.ts';
import type { RunningOperator } from '../support/operators.ts';
import { until } from '../support/s3-looks.ts';
import { snapshotBytes } from '../support/store-contract.ts';
import { startTcpFront, type TcpFront } from '../support/tcp-front.ts';

/** Enough for an upload in three parts. */
const DATABASE_BYTES = 18 * 1024 * 1024;
const EVERY_SECOND = '--snapshot-schedule-cron=@every 1s';
const KEEP_ALL = ['--snapshot-retention=0', '--s3-retention=0'];
const quick = { leaseDurationMs: 1_500, intervalMs: 1_000 };
const never = new Promise<never>(() => {});

let scene: OperatorScene;
let kube: KubeFront;
let etcd: TcpFront;
let serial = 0;

beforeAll(async () => {
  scene = await startOperatorScene();
  kube = await startKubeFront(scene.kubeconfig, scene.scratch);
  const [member] = scene.plane.etcd.members;
  etcd = await startTcpFront(new URL(member?.endpoint ?? '').host);
  await scene.plane.etcd.fill(DATABASE_BYTES);
});

afterEach(async () => {
  kube.setRule(() => undefined);
  etcd.heal();
  await scene.endAll();
});

afterAll(async () => {
  await etcd?.[Symbol.asyncDispose]();
  await kube?.[Symbol.asyncDispose]();
  await scene?.[Symbol.asyncDispose]();
});

interface Victim {
  readonly operator: RunningOperator;
  readonly folder: string;
  /** With the same node, disk and folder, and nothing in its way. */
  again(args?: readonly string[]): Promise<RunningOperator>;
}

async function startVictim(args: readonly string[]): Promise<Victim> {
  serial += 1;
  const plan = { node: `node-${serial}`, folder: `killed-${serial}`, tuning: quick };
  const operator = await scene.start({
    ...plan,
    args,
    kubeconfig: kube.kubeconfig,
    etcd: `https://${etcd.endpoint}`,
  });
  return {
    operator,
    folder: plan.folder,
    again: (more = []) => scene.start({ ...plan, args: more, dataDir: operator.dataDir }),
  };
}

/** Holds what matches, from the first one on; tells when one has come. */
function holding(matches: (request: SeenRequest) => boolean, fault: Fault = 'hang') {
  const reached = Promise.withResolvers<void>();
  const rule = (request: SeenRequest) => {
    if (!matches(request)) return undefined;
    reached.resolve();
    return fault;
  };
  return { rule, reached: reached.promise };
}

const unanswered: Fault = { answerAfter: never };
const isRecords = ({ path }: SeenRequest) => path.startsWith('/apis/k3s.cattle.io/');
const is = (method: string, query: RegExp) => (request: SeenRequest) =>
  request.method === method && query.test(request.path);
const begins = is('POST', /[?&]uploads\b/);
const completes = is('POST', /[?&]uploadId=/);
const secondPart = is('PUT', /[?&]partNumber=2\b/);
const creates = (request: SeenRequest) => isRecords(request) && request.method === 'POST';
const lifts = (request: SeenRequest) => isRecords(request) && request.method === 'PATCH';
const deletes = (request: SeenRequest) => isRecords(request) && request.method === 'DELETE';
const deletesObject = is('DELETE', /^/);

const finals = async ({ dir }: RunningOperator) =>
  (await readdir(dir)).filter((name) => !name.startsWith('.'));

async function kill({ operator }: Victim): Promise<void> {
  operator.kill('SIGKILL');
  await operator.exited;
  kube.setRule(() => undefined);
  scene.front.setRule(() => undefined);
  etcd.heal();
}

describe('an operator that is killed', () => {
  it('while etcd streams: nothing of it is left, and the next save stands', async () => {
    // So slow that the rest of it lasts for seconds when the first of it is seen.
    etcd.throttle(256 * 1024);
    const victim = await startVictim([EVERY_SECOND, ...KEEP_ALL]);
    const { dir } = victim.operator;
    await until(async () => {
      const part = (await readdir(dir)).find((name) => name.endsWith('.part'));
      return part !== undefined && (await stat(join(dir, part))).size > 0;
    });
    await kill(victim);
    expect(await finals(victim.operator)).toEqual([]);
    const again = await victim.again();
    await scene.converge(victim.folder, [again], { files: 0, objects: 0 });
  });

  const uploading: readonly {
    what: string;
    matches: (request: SeenRequest) => boolean;
    fault?: Fault;
    objects: number;
  }[] = [
    { what: 'before an upload has begun', matches: begins, objects: 0 },
    {
      what: 'when it has begun an upload and does not know it',
      matches: begins,
      fault: unanswered,
      objects: 0,
    },
    { what: 'between the parts of an upload', matches: secondPart, objects: 0 },
    {
      what: 'when an upload is complete and it does not know it',
      matches: completes,
      fault: unanswered,
      objects: 1,
    },
  ];
  it.each(uploading)(
    '$what: parts go, whole copies get their records',
    async ({ matches, fault, objects }) => {
      const { rule, reached } = holding(matches, fault);
      scene.front.setRule(rule);
      const victim = await startVictim([EVERY_SECOND, ...KEEP_ALL]);
      await reached;
      await until(async () => (await finals(victim.operator)).length === 1);
      if (objects > 0) await until(async () => (await scene.objects(victim.folder)).length === objects);
      await kill(victim);
      const again = await victim.again();
      const unnamed = matches === begins && fault !== undefined ? 1 : 0;
      await scene.converge(victim.folder, [again], { files: 1, objects, unnamed });
    },
  );

  it.each([
    { what: 'before it has recorded anything', fault: 'hang' },
    { what: 'when it has recorded and does not know it', fault: unanswered },
  ] as const)('$what: each copy has one record afterwards', async ({ fault }) => {
    const { rule, reached } = holding(creates, fault);
    kube.setRule(rule);
    const victim = await startVictim([EVERY_SECOND, ...KEEP_ALL]);
    await reached;
    await until(async () => (await scene.objects(victim.folder)).length === 1);
    await kill(victim);
    const again = await victim.again();
    await scene.converge(victim.folder, [again], { files: 1, objects: 1 });
  });

  const pruning: readonly {
    what: string;
    keep: readonly string[];
    at: 'kube' | 's3';
    matches: (request: SeenRequest) => boolean;
    fault?: Fault;
    wanted: Wanted;
  }[] = [
    {
      what: 'when retention has deleted a file and its record waits',
      keep: ['--snapshot-retention=1', '--s3-retention=0'],
      at: 'kube',
      matches: lifts,
      wanted: { files: 1, objects: 2 },
    },
    {
      what: 'when retention has deleted a file, and freed its record',
      keep: ['--snapshot-retention=1', '--s3-retention=0'],
      at: 'kube',
      matches: deletes,
      wanted: { files: 1, objects: 2 },
    },
    {
      what: 'before retention has deleted an object',
      keep: ['--snapshot-retention=0', '--s3-retention=1'],
      at: 's3',
      matches: deletesObject,
      wanted: {},
    },
    {
      what: 'when retention has deleted an object and does not know it',
      keep: ['--snapshot-retention=0', '--s3-retention=1'],
      at: 's3',
      matches: deletesObject,
      fault: unanswered,
      wanted: {},
    },
  ];
  it.each(pruning)('$what: what is past retention goes, with its record', async (phase) => {
    const { rule, reached } = holding(phase.matches, phase.fault);
    (phase.at === 'kube' ? kube : scene.front).setRule(rule);
    const victim = await startVictim([EVERY_SECOND, ...phase.keep]);
    await reached;
    await kill(victim);
    if (phase.at === 's3') {
      // In S3 it is the next save that is followed by retention.
      const before = await scene.objects(victim.folder);
      const next = await victim.again([EVERY_SECOND, ...phase.keep]);
      await until(async () => {
        const left = new Set(await scene.objects(victim.folder));
        return before.every((name) => !left.has(name));
      });
      expect(await next.stop()).toBe(0);
    }
    const again = await victim.again(['--snapshot-schedule-cron=@every 24h', ...phase.keep]);
    await scene.converge(victim.folder, [again], phase.wanted);
  });

  const deleting: readonly {
    what: string;
    of: 'disk' | 'S3';
    at: 'kube' | 's3';
    matches: (request: SeenRequest) => boolean;
    fault?: Fault;
  }[] = [
    { what: 'when the file is gone and the record waits', of: 'disk', at: 'kube', matches: lifts },
    {
      what: 'when the record is free and it does not know it',
      of: 'disk',
      at: 'kube',
      matches: lifts,
      fault: unanswered,
    },
    { what: 'before the object is deleted', of: 'S3', at: 's3', matches: deletesObject },
    {
      what: 'when the object is gone and it does not know it',
      of: 'S3',
      at: 's3',
      matches: deletesObject,
      fault: unanswered,
    },
    { what: 'when the object is gone and the record waits', of: 'S3', at: 'kube', matches: lifts },
  ];
  it.each(deleting)('during a deletion, $what: both are gone afterwards ($of)', async (phase) => {
    const victim = await startVictim([]);
    const name = `by-hand-node-${serial}-1730308816`;
    const key = `${victim.folder}/${name}`;
    if (phase.of === 'disk')
      await writeFile(join(victim.operator.dir, name), snapshotBytes(2), { mode: 0o600 });
    else {
      const put = { Bucket: scene.bucket, Key: key, Body: snapshotBytes(2) };
      await scene.s3.client().send(new PutObjectCommand(put));
    }
    const record = await scene.recordOf(name);
    const { rule, reached } = holding(phase.matches, phase.fault);
    (phase.at === 'kube' ? kube : scene.front).setRule(rule);
    await scene.deleteRecord(record);
    await reached;
    await kill(victim);
    const again = await victim.again();
    await scene.converge(victim.folder, [again], { files: 0, objects: 0 });
    expect(await scene.cluster.record(record)).toBeUndefined();
  });

  it('and whose records are deleted while it is away: the data go when it is back', async () => {
    const victim = await startVictim([]);
    const name = `by-hand-node-${serial}-1730308816`;
    await writeFile(join(victim.operator.dir, name), snapshotBytes(2), { mode: 0o600 });
    const record = await scene.recordOf(name);
    await kill(victim);
    await scene.deleteRecord(record);
    expect(await finals(victim.operator)).toEqual([name]);
    const again = await victim.again();
    await scene.converge(victim.folder, [again], { files: 0 });
  });
});

it('a record that is deleted while its upload still runs: the file goes, the upload is finished', async () => {
  const release = Promise.withResolvers<void>();
  const { rule, reached } = holding(secondPart, { after: release.promise });
  scene.front.setRule(rule);
  const victim = await startVictim([EVERY_SECOND, ...KEEP_ALL]);
  await reached;
  await until(async () => (await finals(victim.operator)).length === 1);
  const [name = ''] = await finals(victim.operator);
  const record = await scene.recordOf(name);
  await scene.deleteRecord(record);
  await until(async () => (await finals(victim.operator)).length === 0);
  await until(async () => (await scene.cluster.record(record)) === undefined);
  // The next save is held up as long as this one runs; none may come between.
  victim.operator.kill('SIGTERM');
  release.resolve();
  await victim.operator.exited;
  const left = (await scene.records()).filter(({ spec }) => spec.snapshotName === name);
  expect(left.map(({ spec }) => spec.location)).toEqual([`s3://${scene.bucket}/${victim.folder}/${name}`]);
  const again = await victim.again();
  await scene.converge(victim.folder, [again], { files: 0, objects: 1 });
  expect(await scene.objects(victim.folder)).toEqual([name]);
});
