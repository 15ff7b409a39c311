import { describe, expect, it } from 'vitest';
import { exampleS3Location, exampleSnapshot } from '../../test/support/example-snapshots.ts';
import type { ETCDSnapshotFile } from '../crds/etcd-snapshot-file.ts';
import { toSnapshotFile } from '../crds/mapping.ts';
import { createDepartedNodes, type DepartedNodesParts } from './departed-nodes.ts';
import type { InventoryRecord } from './inventory-plan.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

interface Change {
  readonly annotations?: Readonly<Record<string, string>>;
  readonly status?: ETCDSnapshotFile['status'];
  readonly applied?: boolean;
  readonly s3?: boolean;
}

/** The record of a snapshot of that name, which is also its UID. */
function record(
  name: string,
  node = 'gone',
  { annotations, status, applied = false, s3 = false }: Change = {},
) {
  const location = s3 ? { location: exampleS3Location(name) } : {};
  const file = toSnapshotFile(exampleSnapshot(name, { nodeName: node, ...location }), 'k3s');
  const metadata = { ...file.metadata, uid: name, ...(annotations === undefined ? {} : { annotations }) };
  return { file: { ...file, metadata, status: { ...file.status, ...status } }, applied, seenAt: 0 };
}

/** A leader on node `here`, in a cluster that has `here` and those in `nodes`. */
function world(records: InventoryRecord[]) {
  const scene = {
    records,
    nodes: new Set<string>(),
    now: 0,
    /** Names of snapshots whose record cannot be written. */
    stuck: new Set<string>(),
    term: new AbortController(),
  };
  let diary: string[] = [];
  const write = (what: string) => async (one: InventoryRecord) => {
    const { snapshotName } = one.file.spec;
    if (scene.stuck.has(snapshotName)) throw new Error(`${snapshotName} is stuck`);
    diary.push(`${what} ${snapshotName}`);
    if (what === 'release') scene.records = scene.records.filter((other) => other !== one);
    return true;
  };
  const departed = createDepartedNodes({
    program: 'k3s',
    nodeName: 'here',
    records: { all: () => scene.records },
    writer: { release: write('release'), mark: write('mark') },
    nodeIsGone: async (name: string) => !scene.nodes.has(name),
    guardMs: MINUTE,
    monotonic: () => scene.now,
  } as unknown as DepartedNodesParts);
  return Object.assign(scene, {
    /** One look, ten minutes after the last; returns what it did. */
    async look(afterMs = 10 * MINUTE): Promise<string[]> {
      scene.now += afterMs;
      diary = [];
      const signal = AbortSignal.any([scene.term.signal]);
      await departed(signal).catch((error: Error) => diary.push(`throws ${error.message}`));
      return diary;
    },
  });
}

describe('records of a node that has left', () => {
  it('are let go when it is missing in two looks in a row', async () => {
    const scene = world([record('a'), record('b')]);
    expect(await scene.look()).toEqual([]);
    expect(await scene.look()).toEqual(['release a', 'release b']);
    expect(await scene.look()).toEqual([]);
  });

  it('stay when it was there in between, or the two looks were too close', async () => {
    const scene = world([record('a')]);
    await scene.look();
    scene.nodes.add('gone');
    expect(await scene.look()).toEqual([]);
    scene.nodes.delete('gone');
    expect(await scene.look()).toEqual([]);
    expect(await scene.look(MINUTE - 1)).toEqual([]);
    expect(await scene.look(1)).toEqual(['release a']);
  });

  it('stay when the other look was in a former term of this leader', async () => {
    const scene = world([record('a')]);
    await scene.look();
    scene.term.abort();
    scene.term = new AbortController();
    expect(await scene.look()).toEqual([]);
    expect(await scene.look()).toEqual(['release a']);
  });

  it('stay when they are of S3, of no node, of this one, or of one that is there', async () => {
    const nobody = record('d');
    const odd = { ...nobody, file: { ...nobody.file, spec: { ...nobody.file.spec, nodeName: '' } } };
    const scene = world([record('a', 'gone', { s3: true }), record('b', 'here'), record('c', 'there'), odd]);
    scene.nodes.add('there');
    await scene.look();
    expect(await scene.look()).toEqual([]);
  });

  it.each<[string, Change]>([
    ['applied them', { applied: true }],
    ['holds them', { annotations: { 'etcd.k3s.cattle.io/snapshot-hold': '' } }],
    [
      'asked to retain their data',
      { annotations: { 'etcd.k3s.cattle.io/snapshot-deletion-policy': 'Retain' } },
    ],
  ])('stay when somebody %s, and say once that their data are out of reach', async (_, change) => {
    const scene = world([record('a', 'gone', change)]);
    await scene.look();
    expect(await scene.look()).toEqual(['mark a']);
    const status = { readyToUse: false, error: { message: 'node gone is not in the cluster' } };
    scene.records = [record('a', 'gone', { ...change, status })];
    expect(await scene.look()).toEqual([]);
  });

  it('do not keep one another when one of them cannot be written, which is tried again', async () => {
    const scene = world([record('a'), record('b'), record('c', 'gone-too')]);
    scene.stuck.add('a');
    await scene.look();
    expect(await scene.look()).toEqual(['release b', 'release c', 'throws a is stuck']);
    scene.stuck.clear();
    expect(await scene.look()).toEqual(['release a']);
  });

  it('stay for a day when they came back, because its operator runs on a machine that is no node', async () => {
    const scene = world([record('a')]);
    await scene.look();
    expect(await scene.look()).toEqual(['release a']);
    scene.records = [record('a-again')];
    expect(await scene.look()).toEqual([]);
    expect(await scene.look(23 * HOUR)).toEqual([]);
    expect(await scene.look(HOUR)).toEqual(['release a-again']);
  });

  it('are let go at once when it came back as a node, and has left again', async () => {
    const scene = world([record('a')]);
    await scene.look();
    await scene.look();
    scene.nodes.add('gone');
    scene.records = [record('a-again')];
    await scene.look();
    scene.nodes.delete('gone');
    await scene.look();
    expect(await scene.look()).toEqual(['release a-again']);
  });
});
