import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createEtcdSource } from '../../src/etcd/snapshot-source.ts';
import { type OperatorScene, startOperatorScene } from '../support/fault-scene.ts';
import type { RunningOperator } from '../support/operators.ts';
import { until } from '../support/s3-looks.ts';
import { startTcpFront, type TcpFront } from '../support/tcp-front.ts';

const MIB = 1024 * 1024;
const OFTEN = ['--snapshot-schedule-cron=@every 2s', '--snapshot-retention=0', '--s3-retention=0'];

let scene: OperatorScene;
let serial = 0;
/** Of the members of the cluster, now. */
let leader: number;
let followers: readonly number[];

beforeAll(async () => {
  scene = await startOperatorScene({ members: 3 });
  await scene.plane.etcd.fill(6 * MIB);
});

beforeAll(findLeader);

afterEach(async () => {
  await scene.endAll();
  await restartKilled();
  await findLeader();
});

afterAll(() => scene?.[Symbol.asyncDispose]());

const members = () => scene.plane.etcd.members;

const killed = new Set<number>();

function kill(member: number): void {
  killed.add(member);
  members()[member]?.kill('SIGKILL');
}

/** The members must be whole for the next test, also when this one has failed. */
async function restartKilled(): Promise<void> {
  for (const member of killed) await members()[member]?.restart();
  killed.clear();
}

async function findLeader(): Promise<void> {
  const clock = { now: () => new Date() };
  const found = await Promise.all(
    members().map(async ({ endpoint }) => {
      const one = createEtcdSource({ ...scene.plane.etcd.settings(), endpoints: [endpoint] }, clock);
      const { memberId, leaderId } = await one.status(AbortSignal.timeout(30_000));
      one.close();
      return memberId === leaderId;
    }),
  );
  leader = found.indexOf(true);
  followers = found.flatMap((leads, at) => (leads ? [] : [at]));
}

/** An operator on each of these members. */
function startOn(indexes: readonly number[], folder: string, front?: TcpFront) {
  return Promise.all(
    indexes.map((member) =>
      scene.start({
        node: `${folder}-${member}`,
        member,
        folder,
        args: OFTEN,
        tuning: { intervalMs: 1_000 },
        ...(front === undefined ? {} : { etcd: `https://${front.endpoint}` }),
      }),
    ),
  );
}

const named = () => {
  serial += 1;
  return `etcd-${serial}`;
};
const recordsOf = async (node: string, failed: boolean) =>
  (await scene.records()).filter(
    ({ spec, status }) => spec.nodeName === node && (status?.error !== undefined) === failed,
  );
const saved = async ({ node }: RunningOperator) => (await recordsOf(node, false)).length;
const failures = async ({ node }: RunningOperator) =>
  (await recordsOf(node, true)).map(({ status }) => status?.error?.message ?? '');

interface Part {
  readonly ready: boolean;
  readonly reason?: string;
}

async function part(operator: RunningOperator, name: string): Promise<Part | undefined> {
  const { text } = await operator.get('/readyz');
  return (JSON.parse(text) as { parts: Readonly<Record<string, Part>> }).parts[name];
}

async function savesMore(operator: RunningOperator): Promise<void> {
  const before = await saved(operator);
  await until(async () => (await saved(operator)) > before);
}

async function isProven(path: string): Promise<boolean> {
  const bytes = await readFile(path);
  const hash = createHash('sha256').update(bytes.subarray(0, -32)).digest();
  return bytes.length % 512 === 32 && hash.equals(bytes.subarray(-32));
}

const finals = async (dir: string) => (await readdir(dir)).filter((name) => !name.startsWith('.'));

async function streams({ dir }: RunningOperator): Promise<void> {
  await until(async () => {
    const growing = (await readdir(dir)).find((name) => name.endsWith('.part'));
    if (growing === undefined) return false;
    return stat(join(dir, growing)).then(
      ({ size }) => size > 0,
      () => false,
    );
  });
}

/** What stands before that member lets so little through that its stream takes seconds. */
async function slowMember(member: number): Promise<TcpFront> {
  const front = await startTcpFront(new URL(members()[member]?.endpoint ?? '').host);
  front.throttle(3 * MIB);
  return front;
}

/** An operator on that member, in the middle of a save. */
async function streamingOperator(member: number, folder: string, front: TcpFront): Promise<RunningOperator> {
  const [operator] = await startOn([member], folder, front);
  if (operator === undefined) throw new Error('no operator');
  await streams(operator);
  return operator;
}

/** No more saves, and then a look at what there is. */
async function settle(folder: string, operators: readonly RunningOperator[], failed?: number): Promise<void> {
  for (const operator of operators) operator.kill('SIGTERM');
  await Promise.all(operators.map(({ exited }) => exited));
  const quiet = await Promise.all(
    operators.map(({ node, dataDir }) =>
      scene.start({ node, dataDir, folder, tuning: { intervalMs: 1_000, youngMs: 0 } }),
    ),
  );
  await scene.converge(folder, quiet, failed === undefined ? {} : { failed });
}

describe('an etcd cluster of three, with an operator on each member', () => {
  it('a member is down: its operator says why, the others save on, and it saves again when it is back', async () => {
    const folder = named();
    const [down = 0, up = 0] = followers;
    const operators = await startOn([down, up, leader], folder);
    const [lonely, ...others] = operators;
    if (lonely === undefined) throw new Error('no operator');
    await Promise.all(operators.map(savesMore));
    kill(down);
    // A stream that was under way breaks off first; the next save says who is away.
    const { endpoint = '' } = members()[down] ?? {};
    await until(async () => (await failures(lonely)).some((message) => message.includes(endpoint)));
    await until(async () => (await part(lonely, 'schedule'))?.reason?.includes(endpoint) === true);
    expect(await part(lonely, 'schedule')).toMatchObject({ ready: false });
    await Promise.all(others.map(savesMore));
    expect(await Promise.all(others.map(failures))).toEqual([[], []]);
    await restartKilled();
    await savesMore(lonely);
    await until(async () => (await part(lonely, 'schedule'))?.ready === true);
    await settle(folder, operators, (await failures(lonely)).length);
  });

  it('another leader is elected in the middle of a stream: the snapshot is whole, here and on S3', async () => {
    const folder = named();
    const [member = 0] = followers;
    await using slow = await slowMember(member);
    const operator = await streamingOperator(member, folder, slow);
    expect(await saved(operator)).toBe(0);
    kill(leader);
    await until(async () => (await saved(operator)) > 0);
    slow.heal();
    for (const name of await finals(operator.dir))
      expect(await isProven(join(operator.dir, name))).toBe(true);
    expect(await failures(operator)).toEqual([]);
    await restartKilled();
    await settle(folder, [operator]);
  });

  it('the member goes down in the middle of its own stream: a recorded failure, and nothing half-made', async () => {
    const folder = named();
    const [member = 0] = followers;
    await using slow = await slowMember(member);
    const operator = await streamingOperator(member, folder, slow);
    kill(member);
    await until(async () => (await failures(operator)).length > 0);
    expect(await finals(operator.dir)).toEqual([]);
    expect(await scene.objects(folder)).toEqual([]);
    slow.heal();
    await restartKilled();
    await savesMore(operator);
    await settle(folder, [operator], (await failures(operator)).length);
  });

  it('a learner: no snapshot, and the reason is recorded and shown', async () => {
    const folder = named();
    const etcd = await scene.plane.etcd.addLearner();
    const operator = await scene.start({ node: `${folder}-learner`, etcd, folder, args: OFTEN });
    await until(async () => (await failures(operator)).length > 0);
    expect((await failures(operator))[0]).toMatch(/cannot take a snapshot: it is a learner/);
    const [record] = await recordsOf(operator.node, true);
    await until(async () => (await scene.cluster.events(record?.metadata.name ?? '')).length > 0);
    const [event] = await scene.cluster.events(record?.metadata.name ?? '');
    expect(event).toMatchObject({ type: 'Warning', reason: 'ETCDSnapshotFailed' });
    for (const name of ['schedule', 'etcd']) expect(await operator.part(name, false)).toMatch(/learner/);
    expect((await operator.get('/readyz')).status).toBe(200);
    expect(await finals(operator.dir)).toEqual([]);
  });
});
