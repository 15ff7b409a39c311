import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OperatorScene, startOperatorScene } from '../support/fault-scene.ts';
import { startInside } from '../support/operator-inside.ts';
import { followRecords, type RecordChange } from '../support/record-history.ts';
import { until } from '../support/s3-looks.ts';

const STARTS = 50;
const KEEP = 2;
const FOLDER = 'storm';
const nodes = ['node-1', 'node-2', 'node-3'];

let scene: OperatorScene;

beforeAll(async () => {
  scene = await startOperatorScene({ members: 3 });
  for (const name of nodes) await scene.cluster.put({ apiVersion: 'v1', kind: 'Node', metadata: { name } });
});

afterAll(() => scene?.[Symbol.asyncDispose]());

/** Each node and each store is a line of its own, for retention and for k3s alike. */
function lineOf({ object: { spec } }: RecordChange): string {
  const node = /^etcd-snapshot-(.+)-\d+$/.exec(spec.snapshotName)?.[1];
  return `${node} ${spec.s3 === undefined ? 'local' : 's3'}`;
}

const secondOf = ({ object: { spec } }: RecordChange) => Number(spec.snapshotName.split('-').at(-1));
const isMade = ({ type, object }: RecordChange) => type === 'ADDED' && object.status?.readyToUse === true;
/** What a record says, to people and to k3s. */
const said = ({ object: { metadata, spec, status } }: RecordChange) => ({
  annotations: metadata.annotations,
  labels: metadata.labels,
  spec,
  status,
});
const lines = nodes.flatMap((node) => [`${node} local`, `${node} s3`]);

const startAll = (args: readonly string[]) =>
  Promise.all(
    nodes.map((node, member) =>
      startInside({ scene, node, member, folder: FOLDER, dataDir: join(scene.scratch, node), args }),
    ),
  );

describe('three operators on three members', () => {
  it('start at once, save and prune, fifty times: no record is lost, doubled or made twice', async () => {
    await using history = await followRecords(scene.client);
    const { changes } = history;
    for (let start = 0; start < STARTS; start += 1) {
      const from = changes.length;
      const operators = await startAll([
        '--snapshot-schedule-cron=@every 1s',
        `--snapshot-retention=${KEEP}`,
        `--s3-retention=${KEEP}`,
      ]);
      await until(() => {
        const made = new Set(changes.slice(from).filter(isMade).map(lineOf));
        return lines.every((line) => made.has(line));
      });
      await Promise.all(operators.map((operator) => operator.stop()));
    }
    const operators = await startAll(['--disable-snapshots']);
    // A run that comes late has the second of the next one; the later of two of the same name is refused.
    const failed = (await scene.records()).flatMap(({ status }) => status?.error?.message ?? []);
    expect(failed.filter((message) => !message.includes('in the same second'))).toEqual([]);
    await scene.converge(FOLDER, operators, { failed: failed.length });
    await Promise.all(operators.map((operator) => operator.stop()));

    const made = new Map(
      changes.filter(({ type }) => type === 'ADDED').map((one) => [one.object.metadata.name, said(one)]),
    );
    const added = changes.filter(({ type }) => type === 'ADDED').map(({ object }) => object.metadata.name);
    expect(added).toEqual([...made.keys()]);
    // Whoever records a copy first says all that there is to say. Later only our finalizer goes, before the record does, and
    // comes back where an operator was told to end in between.
    for (const change of changes.filter(({ type }) => type === 'MODIFIED')) {
      expect(said(change)).toEqual(made.get(change.object.metadata.name));
    }
    const deleted = changes.filter(({ type }) => type === 'DELETED');
    expect(deleted.length).toBeGreaterThan(STARTS);
    for (const change of deleted) {
      const before = changes.slice(0, changes.indexOf(change)).filter(isMade);
      const newer = before.filter(
        (one) => lineOf(one) === lineOf(change) && secondOf(one) > secondOf(change),
      );
      expect([change.object.metadata.name, newer.length >= KEEP]).toEqual([
        change.object.metadata.name,
        true,
      ]);
    }
    expect(added.length - deleted.length).toBe((await scene.records()).length);
  }, 600_000);
});
