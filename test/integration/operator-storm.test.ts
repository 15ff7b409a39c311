import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type OperatorScene, startOperatorScene } from '../support/fault-scene.ts';
import { followRecords, type RecordChange } from '../support/record-history.ts';
import { until } from '../support/s3-looks.ts';

const ROUNDS = 50;
/** Operators that start at once, so often. */
const STARTS = 5;

let scene: OperatorScene;

beforeAll(async () => {
  scene = await startOperatorScene({ members: 3 });
});

afterEach(() => scene.endAll());

afterAll(() => scene?.[Symbol.asyncDispose]());

const nodes = ['node-1', 'node-2', 'node-3'];

/** Seconds in which that node has saved to S3. */
function secondsOf(changes: readonly RecordChange[], node: string): ReadonlySet<string> {
  const names = changes.map(({ object }) => (object.spec.s3 === undefined ? '' : object.spec.snapshotName));
  const times = names.map((name) => new RegExp(`^etcd-snapshot-${node}-(\\d+)$`).exec(name)?.[1] ?? '');
  return new Set(times.filter((time) => time !== ''));
}

/** Seconds in which all have. */
function rounds(changes: readonly RecordChange[]): number {
  const [first = new Set<string>(), ...others] = nodes.map((node) => secondsOf(changes, node));
  return [...first].filter((time) => others.every((set) => set.has(time))).length;
}

describe('three operators on three members', () => {
  it('start at once and save at the same second, fifty times: no record is lost, doubled or made twice', async () => {
    await using history = await followRecords(scene.client);
    const folder = 'storm';
    const dataDirs = new Map<string, string>();
    for (let start = 1; start <= STARTS; start += 1) {
      const operators = await Promise.all(
        nodes.map(async (node, member) => {
          const dataDir = dataDirs.get(node);
          const operator = await scene.start({
            node,
            member,
            folder,
            args: ['--snapshot-schedule-cron=@every 1s', '--snapshot-retention=0', '--s3-retention=0'],
            tuning: { intervalMs: 500, youngMs: 0 },
            ...(dataDir === undefined ? {} : { dataDir }),
          });
          dataDirs.set(node, operator.dataDir);
          return operator;
        }),
      );
      await until(() => rounds(history.changes) >= (ROUNDS * start) / STARTS);
      for (const operator of operators) operator.kill('SIGTERM');
      await Promise.all(operators.map(({ exited }) => exited));
    }
    const operators = await Promise.all(
      nodes.map((node, member) => scene.start({ node, member, folder, dataDir: dataDirs.get(node) ?? '' })),
    );
    // A run that comes late has the second of the next one; the later of two of the same name is refused.
    const failed = (await scene.records()).flatMap(({ status }) => status?.error?.message ?? []);
    expect(failed.filter((message) => !message.includes('in the same second'))).toEqual([]);
    await scene.converge(folder, operators, { failed: failed.length });

    const { changes } = history;
    expect(rounds(changes)).toBeGreaterThanOrEqual(ROUNDS);
    expect(changes.filter(({ type }) => type === 'DELETED')).toEqual([]);
    expect(changes.filter(({ object }) => object.metadata.deletionTimestamp !== undefined)).toEqual([]);
    const added = changes.filter(({ type }) => type === 'ADDED').map(({ object }) => object.metadata.name);
    expect(added).toEqual([...new Set(added)]);
    expect(added).toHaveLength((await scene.records()).length);
    // Whoever records a copy first says all that there is to say; nobody says it otherwise later.
    const changed = changes.filter(({ type }) => type === 'MODIFIED').map(({ object }) => object);
    expect(changed).toEqual([]);
  }, 240_000);
});
