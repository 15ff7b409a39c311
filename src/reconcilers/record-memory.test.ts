import { describe, expect, it } from 'vitest';
import { exampleS3Location, exampleSnapshot } from '../../test/support/example-snapshots.ts';
import { toSnapshotFile } from '../crds/mapping.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import type { InventoryRecord } from './inventory-plan.ts';
import { createRecordMemory, type Wishes } from './record-memory.ts';

const HOLD = 'etcd.k3s.cattle.io/snapshot-hold';
const POLICY = 'etcd.k3s.cattle.io/snapshot-deletion-policy';
const onDisk = exampleSnapshot('a');
const inS3 = exampleSnapshot('a', { location: exampleS3Location('a') });

function record(of: Snapshot, annotations: Readonly<Record<string, string>> = {}): InventoryRecord {
  const file = toSnapshotFile(of, 'k3s');
  return { file: { ...file, metadata: { ...file.metadata, annotations } }, applied: false, seenAt: 0 };
}

function memory() {
  const clock = { now: 0, monotonic: () => clock.now };
  return Object.assign(createRecordMemory('k3s', clock), { clock });
}

describe('what people asked of a record that is gone', () => {
  it.each([
    ['a hold', { [HOLD]: '' }],
    ['Retain', { [POLICY]: 'Retain' }],
    ['a policy that nobody knows', { [POLICY]: 'keep' }],
    ['both', { [HOLD]: 'audit', [POLICY]: 'Retain' }],
  ])('is known for the next record of the copy: %s', (_, annotations) => {
    for (const copy of [onDisk, inS3]) {
      const known = memory();
      expect(known.changed(undefined, record(copy, { ...annotations, note: 'x' }))).toBe(true);
      expect(known.wishesFor(copy)).toEqual(annotations);
      expect(known.wishesFor(copy === onDisk ? inS3 : onDisk)).toEqual({});
      expect(known.wishesFor({ ...copy, nodeName: 'n2' })).toEqual(copy === inS3 ? annotations : {});
    }
  });

  it.each([
    ['nothing', {}],
    ['a hold that was lifted', { [HOLD]: 'False' }],
    ['deletion', { [POLICY]: 'delete' }],
  ])('is not kept when it was %s', (_, annotations) => {
    const known = memory();
    expect(known.changed(undefined, record(onDisk, annotations))).toBe(false);
    expect(known.wishesFor(onDisk)).toEqual({});
  });

  it('is forgotten when a record bears it again, and not before', () => {
    const known = memory();
    known.changed(undefined, record(onDisk, { [HOLD]: '' }));
    known.changed(record(onDisk), undefined);
    expect(known.wishesFor(onDisk)).toEqual({ [HOLD]: '' });
    known.changed(record(onDisk, { [HOLD]: '' }), undefined);
    expect(known.wishesFor(onDisk)).toEqual({});
  });
});

describe('what an earlier process has left to be known of records that are gone', () => {
  function inherit(known: ReadonlyMap<string, Wishes>) {
    const told: string[][] = [];
    const keep = (all: ReadonlyMap<string, Wishes>) => told.push([...all.keys()]);
    return { ...createRecordMemory('k3s', { monotonic: () => 0 }, { known, keep }), told };
  }

  it('is all that was to be known', () => {
    const first = inherit(new Map());
    first.changed(undefined, record(onDisk, { [HOLD]: 'audit' }));
    first.changed(undefined, record(inS3, { [POLICY]: 'Retain' }));
    expect(first.told.map((keys) => keys.length)).toEqual([1, 2]);
    const [disk = '', s3 = ''] = first.told.at(-1) ?? [];
    const next = inherit(
      new Map([
        [disk, { [HOLD]: 'audit' }],
        [s3, { [POLICY]: 'Retain' }],
      ]),
    );
    expect([next.wishesFor(onDisk), next.wishesFor(inS3)]).toEqual([
      { [HOLD]: 'audit' },
      { [POLICY]: 'Retain' },
    ]);
    next.changed(record(onDisk, { [HOLD]: 'audit' }), undefined);
    expect(next.told).toEqual([[s3]]);
  });

  it('is not believed against a record that is there, whose hold somebody may have lifted meanwhile', () => {
    const first = inherit(new Map());
    first.changed(undefined, record(onDisk, { [HOLD]: '' }));
    const next = inherit(new Map([[first.told[0]?.[0] ?? '', { [HOLD]: '' }]]));
    next.changed(record(onDisk), undefined);
    expect([next.wishesFor(onDisk), next.told]).toEqual([{}, [[]]]);
  });
});

describe('when a record went', () => {
  it('is known for an hour, for its copy only', () => {
    const known = memory();
    known.clock.now = 7;
    known.changed(undefined, record(onDisk));
    expect([6, 7, 8].map((since) => known.wentSince(onDisk, since))).toEqual([true, true, false]);
    expect(known.wentSince(inS3, 0)).toBe(false);
    known.clock.now = 3_600_006;
    known.changed(undefined, record(inS3));
    expect(known.wentSince(onDisk, 0)).toBe(true);
    known.clock.now = 3_600_007;
    known.changed(undefined, record(exampleSnapshot('b')));
    expect([onDisk, inS3].map((copy) => known.wentSince(copy, 0))).toEqual([false, true]);
  });

  it('is not told by a record that changes, or has no place', () => {
    const known = memory();
    known.changed(record(onDisk), record(onDisk));
    const failed = exampleSnapshot('a', { location: { store: 'local', path: '' } });
    known.changed(undefined, record(failed));
    expect([onDisk, failed].map((copy) => known.wentSince(copy, 0))).toEqual([false, false]);
  });
});
