import { describe, expect, it } from 'vitest';
import { exampleS3Location, exampleSnapshot } from '../../test/support/example-snapshots.ts';
import type { ETCDSnapshotFile } from '../crds/etcd-snapshot-file.ts';
import { toSnapshotFile } from '../crds/mapping.ts';
import { locationUrl, type Snapshot } from '../snapshot/snapshot.ts';
import { type InventoryInput, type InventoryRecord, planInventory } from './inventory-plan.ts';

const now = new Date('2024-10-31T12:00:00Z');
const HOUR_MS = 3_600_000;
const ago = (ms: number) => new Date(now.getTime() - ms).toISOString();

interface Changes extends Partial<Omit<InventoryRecord, 'file'>> {
  readonly metadata?: Partial<ETCDSnapshotFile['metadata']>;
  readonly spec?: Partial<ETCDSnapshotFile['spec']>;
  readonly status?: Partial<ETCDSnapshotFile['status']>;
}

/** The record that we write for this copy, seen an hour ago. */
function record(of: Snapshot, changes: Changes = {}): InventoryRecord {
  const file = toSnapshotFile(of, 'k3s');
  const { metadata, spec, status, applied = false, seenAt = 0 } = changes;
  return {
    file: {
      ...file,
      metadata: { ...file.metadata, ...metadata },
      spec: { ...file.spec, ...spec },
      status: { ...file.status, ...status },
    },
    applied,
    seenAt,
  };
}

function input(
  observed: readonly Snapshot[],
  records: readonly InventoryRecord[],
  elsewhere: readonly InventoryRecord[] = [],
): InventoryInput {
  const clocks = { now, monotonicNow: HOUR_MS, youngMs: 60_000 };
  return { observed, records, elsewhere, ...clocks, program: 'k3s', believed: new Set() };
}

/** A plan by names of snapshots; what is empty is left out. */
function plan(
  observed: readonly Snapshot[],
  records: readonly InventoryRecord[],
  elsewhere?: readonly InventoryRecord[],
) {
  const result = planInventory(input(observed, records, elsewhere));
  const named = (all: readonly InventoryRecord[]) => all.map(({ file }) => file.spec.snapshotName);
  const lists = {
    create: result.create.map(({ name }) => name),
    update: named(result.update.map((one) => one.record)),
    mark: named(result.mark.map((one) => one.record)),
    remove: named(result.remove),
    suspended: named(result.suspended?.records ?? []),
  };
  return {
    ...Object.fromEntries(Object.entries(lists).filter(([, names]) => names.length > 0)),
    ...(result.inStep === 0 ? {} : { inStep: result.inStep }),
  };
}

const a = exampleSnapshot('a');
const b = exampleSnapshot('b');
const inS3 = exampleSnapshot('a', { location: exampleS3Location('a') });
const leaving = { deletionTimestamp: ago(1000) };
const failure = { time: new Date(now.getTime() - HOUR_MS), message: 'upload failed' };

describe('planInventory: what is there', () => {
  it('creates the record of a copy that has none', () => {
    expect(plan([a, b], [record(a)])).toEqual({ create: ['b'], inStep: 1 });
  });

  it('does nothing when all is said', () => {
    expect(
      plan(
        [a, b, inS3],
        [a, b, inS3].map((one) => record(one)),
      ),
    ).toEqual({ inStep: 3 });
  });

  it('keeps apart the copies of one snapshot', () => {
    expect(plan([a, inS3], [record(inS3)])).toEqual({ create: ['a'], inStep: 1 });
  });

  it.each<[string, Changes]>([
    ['has another size', { status: { size: '1' } }],
    [
      'says that the copy failed',
      { status: { readyToUse: false, error: { time: ago(1000), message: 'x' } } },
    ],
    ['lacks its label', { metadata: { labels: {} } }],
  ])('updates a record that %s', (_, changes) => {
    expect(plan([a], [record(a, changes)])).toEqual({ update: ['a'] });
  });

  it('clears the mark of an applied record whose data have come', () => {
    const marked = { applied: true, status: { readyToUse: false, error: { message: 'missing' } } };
    expect(plan([a], [record(a, marked)])).toEqual({ update: ['a'] });
  });

  it('never rewrites what somebody applied', () => {
    expect(plan([inS3], [record(inS3, { applied: true, spec: { s3: {} } })])).toEqual({ inStep: 1 });
  });

  it('neither updates nor doubles a record that is being deleted', () => {
    const going = record(a, { metadata: leaving, status: { size: '1' } });
    expect(plan([a], [going])).toEqual({});
  });

  it('takes the record of newer k3s for that of the same object', () => {
    const metadata = { name: 's3-a-3b38ed', annotations: {} };
    expect(plan([inS3], [record(inS3, { metadata, spec: { nodeName: 'n1' } })])).toEqual({ inStep: 1 });
  });

  it('leaves two records of one object alone', () => {
    const theirs = record(inS3, { metadata: { name: 's3-a-3b38ed' }, spec: { nodeName: 'n1' } });
    expect(plan([inS3], [theirs, record(inS3)])).toEqual({ inStep: 2 });
  });

  it('keeps what a listing did not look up', () => {
    const full = { ...inS3, tokenHash: 'b4b83cda3099', metadata: { team: 'a' } };
    const listed = { ...inS3, nodeName: undefined, size: 1056 };
    expect(plan([{ ...listed, size: 544 }], [record(full)])).toEqual({ inStep: 1 });
    const { update } = planInventory(input([listed], [record(full)]));
    expect(update.map((one) => one.snapshot)).toEqual([{ ...full, size: 1056 }]);
  });

  it('takes what a listing did look up', () => {
    const was = { ...a, metadata: { team: 'old' } };
    expect(plan([{ ...a, metadata: { team: 'new' } }], [record(was)])).toEqual({ update: ['a'] });
  });
});

describe('planInventory: what is not there', () => {
  const failed = exampleSnapshot('a', { size: 0, location: { store: 'local', path: '' }, failure });
  const failedUpload = { ...inS3, size: 0, failure };
  const since = (ms: number) => ({ status: { error: { time: ago(ms), message: 'x' } } });

  it.each<[string, InventoryRecord, object]>([
    ['removes a record without data', record(a), { remove: ['a'] }],
    ['leaves one that is being deleted', record(a, { metadata: leaving }), {}],
    ['leaves one that came a moment ago', record(a, { seenAt: HOUR_MS - 59_999 }), {}],
    [
      'removes one that has been known for long enough',
      record(a, { seenAt: HOUR_MS - 60_000 }),
      { remove: ['a'] },
    ],
    ['keeps a failure', record(failed), {}],
    ['keeps a failure for a day', record(failed, since(24 * HOUR_MS - 1)), {}],
    ['removes a failure after a day', record(failed, since(24 * HOUR_MS)), { remove: ['a'] }],
    ['removes a failed upload after a day', record(failedUpload, since(25 * HOUR_MS)), { remove: ['a'] }],
    [
      'tells the age of a failure by its creation time',
      record(failed, { status: { creationTime: ago(23 * HOUR_MS), error: { message: 'x' } } }),
      {},
    ],
    [
      'removes a failure whose time is no time',
      record(failed, { status: { error: { time: 'yesterday', message: 'x' } } }),
      { remove: ['a'] },
    ],
    ['marks what somebody applied', record(a, { applied: true }), { mark: ['a'] }],
    ['marks nothing that came a moment ago', record(a, { applied: true, seenAt: HOUR_MS }), {}],
    [
      'leaves what somebody applied and is being deleted',
      record(a, { applied: true, metadata: leaving }),
      {},
    ],
    [
      'marks once, and never removes, what somebody applied',
      record(a, {
        applied: true,
        status: { readyToUse: false, error: { time: ago(48 * HOUR_MS), message: 'x' } },
      }),
      {},
    ],
  ])('%s', (_, one, expected) => {
    expect(plan([], [one])).toEqual(expected);
  });

  it.each([
    ['a hold', { 'etcd.k3s.cattle.io/snapshot-hold': 'audit' }],
    ['a deletion policy', { 'etcd.k3s.cattle.io/snapshot-deletion-policy': 'Retain' }],
  ])('never removes, and marks once, what somebody has put %s on', (_, annotations) => {
    const metadata = { annotations };
    expect(plan([], [record(a, { metadata })])).toEqual({ mark: ['a'] });
    const error = { time: ago(48 * HOUR_MS), message: 'x' };
    const marked = record(a, { metadata, status: { readyToUse: false, error } });
    expect(plan([], [marked])).toEqual({});
    expect(plan([a], [marked])).toEqual({ update: ['a'] });
    expect(plan([], [], [marked])).toEqual({});
  });

  it('removes a record whose hold was lifted', () => {
    const lifted = { annotations: { 'etcd.k3s.cattle.io/snapshot-hold': 'false' } };
    expect(plan([], [record(a, { metadata: lifted })])).toEqual({ remove: ['a'] });
  });

  it('removes a failure of another place after a day, and nothing else there', () => {
    const day = since(24 * HOUR_MS);
    const elsewhere = [
      record(failedUpload, day),
      record({ ...failedUpload, name: 'young' }, since(HOUR_MS)),
      record(inS3),
      record({ ...failedUpload, name: 'applied' }, { ...day, applied: true }),
      record({ ...failedUpload, name: 'leaving' }, { ...day, metadata: leaving }),
    ];
    expect(plan([], [], elsewhere)).toEqual({ remove: ['a'] });
  });

  it('says in a mark what is wrong', () => {
    const { mark } = planInventory(input([], [record(a, { applied: true })]));
    expect(mark[0]?.message).toBe('the snapshot is not there');
  });

  it('does not take failures without a place for one another', () => {
    const other = record({ ...failed, name: 'b' }, since(25 * HOUR_MS));
    expect(other.file.spec.location).toBe(locationUrl(failed.location));
    expect(plan([], [record(failed), other])).toEqual({ remove: ['b'] });
  });
});

describe('planInventory: when much vanishes at once', () => {
  const names = (count: number) =>
    Array.from({ length: count }, (_, at) => `s${String(at).padStart(2, '0')}`);
  const all = (count: number) => names(count).map((name) => exampleSnapshot(name));
  const records = (count: number) => all(count).map((one) => record(one));

  it.each([
    ['ten of ten', 10, 0, false],
    ['eleven of eleven', 11, 0, true],
    ['eleven of 21', 21, 10, true],
    ['eleven of 22', 22, 11, false],
  ])('%s', (_, known, left, stops) => {
    const gone = names(known).slice(left);
    expect(plan(all(left), records(known))).toEqual({
      ...(stops ? { suspended: gone } : { remove: gone }),
      ...(left === 0 ? {} : { inStep: left }),
    });
  });

  it('goes on when all that is missing was missing before, and not when one more is', () => {
    const vanished = records(12);
    const [first = '', ...others] = vanished.map(({ file }) => file.metadata.name);
    const remove = [others, [first, ...others], [first, ...others, 'another']].map(
      (names) => planInventory({ ...input([], vanished), believed: new Set(names) }).remove.length,
    );
    expect(remove).toEqual([0, 12, 12]);
  });

  it('says which ones, in an order that does not depend on the listing, and of how many', () => {
    const vanished = records(12);
    const { suspended } = planInventory(input([], vanished.toReversed()));
    expect(suspended).toEqual({ records: vanished, of: 12 });
  });

  it('removes and marks nothing meanwhile, but still says what is there', () => {
    const expired = record(exampleSnapshot('failed', { failure }), {
      status: { error: { time: ago(25 * HOUR_MS) } },
    });
    const applied = record(exampleSnapshot('applied'), { applied: true });
    const changedOne = record(exampleSnapshot('changed'), { status: { size: '1' } });
    expect(
      plan(
        [exampleSnapshot('new'), exampleSnapshot('changed')],
        [...records(12), expired, applied, changedOne],
      ),
    ).toEqual({ create: ['new'], update: ['changed'], suspended: names(12) });
  });

  it('counts neither failures nor what is applied, young or leaving', () => {
    const odd = names(12).map((name, at) => {
      const one = exampleSnapshot(name);
      if (at < 3) return record({ ...one, failure }, { status: { error: { time: ago(25 * HOUR_MS) } } });
      if (at < 6) return record(one, { applied: true });
      return record(one, at < 9 ? { seenAt: HOUR_MS } : { metadata: leaving });
    });
    const gone = names(22)
      .slice(12)
      .map((name) => record(exampleSnapshot(name)));
    expect(plan([], [...odd, ...gone])).toMatchObject({ remove: [...names(3), ...names(22).slice(12)] });
  });
});
