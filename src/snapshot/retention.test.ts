import { describe, expect, it } from 'vitest';
import { exampleS3Location, exampleSnapshot } from '../../test/support/example-snapshots.ts';
import { planRetention, type RetentionPolicy } from './retention.ts';
import type { Snapshot } from './snapshot.ts';

const inS3 = (name: string, overrides: Partial<Snapshot> = {}): Snapshot =>
  exampleSnapshot(name, { location: exampleS3Location(name), clusterId: 'ours', ...overrides });

const policy: RetentionPolicy = { base: 'etcd-snapshot', keep: 2, clusterId: 'ours', held: () => false };

function plan(snapshots: readonly Snapshot[], overrides: Partial<RetentionPolicy> = {}) {
  const { delete: gone, keep } = planRetention(snapshots, { ...policy, ...overrides });
  return {
    gone: gone.map(({ snapshot: one }) => one.name),
    kept: keep.map(({ snapshot: one }) => one.name),
  };
}

const five = [3, 5, 1, 4, 2].map((seconds) => exampleSnapshot(`etcd-snapshot-n1-${seconds}`));

describe('planRetention', () => {
  it('keeps the newest by their own time, and lets the oldest go first', () => {
    expect(plan(five)).toEqual({
      gone: ['etcd-snapshot-n1-1', 'etcd-snapshot-n1-2', 'etcd-snapshot-n1-3'],
      kept: ['etcd-snapshot-n1-5', 'etcd-snapshot-n1-4'],
    });
  });

  it('goes by the time of the snapshot, not by how its name sorts', () => {
    const names = ['etcd-snapshot-n1-1000', 'etcd-snapshot-n1-999', 'etcd-snapshot-n1-1001'];
    expect(plan(names.map((name) => exampleSnapshot(name))).gone).toEqual(['etcd-snapshot-n1-999']);
  });

  it('says why', () => {
    const { delete: gone, keep } = planRetention(five.slice(0, 3), {
      ...policy,
      held: ({ name }) => name === 'etcd-snapshot-n1-3',
      keep: 1,
    });
    expect([...keep, ...gone].map(({ snapshot: { name }, why }) => [name, why])).toEqual([
      ['etcd-snapshot-n1-5', 'number 1 of 2, newest first, of which 1 are kept'],
      ['etcd-snapshot-n1-3', 'it is held'],
      ['etcd-snapshot-n1-1', 'number 2 of 2, newest first, of which 1 are kept'],
    ]);
  });

  it.each([0, -1, 0.5, Number.NaN])('is off when %d are to be kept', (keep) => {
    expect(plan(five, { keep })).toEqual({ gone: [], kept: [] });
  });

  it.each([5, 6, 5.9, Number.POSITIVE_INFINITY])('lets all five stay when %d are to be kept', (keep) => {
    expect(plan(five, { keep }).gone).toEqual([]);
  });

  it.each([
    ['of another base', exampleSnapshot('on-demand-n1-1')],
    ['of a base that begins alike', exampleSnapshot('etcd-snapshot2-n1-1')],
    ['of a base that goes on with a dash', exampleSnapshot('etcd-snapshot-x-n1-1')],
    ['of another node, copied here', exampleSnapshot('etcd-snapshot-n2-1')],
    ['of a node that begins alike', exampleSnapshot('etcd-snapshot-n1-x-1')],
    ['whose name ends in no seconds, but in a date', exampleSnapshot('etcd-snapshot-n1-261124120000')],
    [
      'with more behind its time',
      exampleSnapshot('etcd-snapshot-n1-1.zip.zip', { createdAt: new Date(1000) }),
    ],
    ['with no time', exampleSnapshot('etcd-snapshot-n1-', { createdAt: new Date(1000) })],
    ['of a node that is not known', exampleSnapshot('etcd-snapshot-n1-1', { nodeName: undefined })],
    [
      'that failed',
      exampleSnapshot('etcd-snapshot-n1-9', { failure: { time: new Date(), message: '' }, size: 0 }),
    ],
    ['of a size that no snapshot has', exampleSnapshot('etcd-snapshot-n1-9', { size: 512 })],
    ['that is empty', exampleSnapshot('etcd-snapshot-n1-9.zip', { size: 0 })],
    ['of another cluster', inS3('etcd-snapshot-n1-1', { clusterId: 'theirs' })],
  ])('neither counts nor touches one %s', (_, odd) => {
    const own = [exampleSnapshot('etcd-snapshot-n1-7'), exampleSnapshot('etcd-snapshot-n1-8')];
    expect(plan([...own, odd])).toEqual({ gone: [], kept: ['etcd-snapshot-n1-8', 'etcd-snapshot-n1-7'] });
  });

  it('touches no object that does not say whose it is, and none when it does not know whose it is itself', () => {
    const { clusterId: _, ...unknown } = inS3('etcd-snapshot-n1-1');
    const own = ['etcd-snapshot-n1-7', 'etcd-snapshot-n1-8'].map((name) => inS3(name));
    expect(plan([...own, unknown])).toEqual({
      gone: [],
      kept: ['etcd-snapshot-n1-8', 'etcd-snapshot-n1-7'],
    });
    const { clusterId, ...nobody } = policy;
    expect(clusterId).toBe('ours');
    const three = [...own, inS3('etcd-snapshot-n1-9'), unknown];
    expect(planRetention(three, nobody)).toEqual({ delete: [], keep: [] });
  });

  it('needs no cluster on disk', () => {
    const { clusterId: _, ...nobody } = policy;
    expect(planRetention(five, nobody).delete).toHaveLength(3);
  });

  it('counts in S3 for each node that took them', () => {
    const objects = [1, 2, 3].flatMap((seconds) =>
      ['n1', 'n2'].map((nodeName) => inS3(`etcd-snapshot-${nodeName}-${seconds}`, { nodeName })),
    );
    expect(plan([...objects, inS3('etcd-snapshot-n3-0', { nodeName: 'n3' })]).gone.toSorted()).toEqual([
      'etcd-snapshot-n1-1',
      'etcd-snapshot-n2-1',
    ]);
    expect(plan(objects, { nodeName: 'n2' }).gone).toEqual(['etcd-snapshot-n2-1']);
  });

  it('counts disk and S3 each on its own', () => {
    const names = ['etcd-snapshot-n1-1', 'etcd-snapshot-n1-2'];
    const both = names.flatMap((name) => [exampleSnapshot(name), inS3(name)]);
    expect(plan(both).gone).toEqual([]);
    expect(plan(both, { keep: 1 }).gone).toEqual(['etcd-snapshot-n1-1', 'etcd-snapshot-n1-1']);
  });

  it('counts compressed and plain ones together', () => {
    const mixed = ['etcd-snapshot-n1-1', 'etcd-snapshot-n1-2.zip', 'etcd-snapshot-n1-3'];
    expect(plan(mixed.map((name) => exampleSnapshot(name))).gone).toEqual(['etcd-snapshot-n1-1']);
  });

  it('lets held ones stay beside those that it counts', () => {
    const held = ['etcd-snapshot-n1-1', 'etcd-snapshot-n1-4'];
    expect(plan(five, { held: ({ name }) => held.includes(name) })).toEqual({
      gone: ['etcd-snapshot-n1-2'],
      kept: ['etcd-snapshot-n1-5', 'etcd-snapshot-n1-4', 'etcd-snapshot-n1-3', 'etcd-snapshot-n1-1'],
    });
  });

  it('never lets the newest good one go, whatever is broken, failed or held', () => {
    const broken = exampleSnapshot('etcd-snapshot-n1-8', { size: 100 });
    const failed = exampleSnapshot('etcd-snapshot-n1-9', { failure: { time: new Date(), message: '' } });
    const held = exampleSnapshot('etcd-snapshot-n1-7');
    const { kept } = plan([...five, broken, failed, held], { keep: 1, held: (one) => one === held });
    expect(kept).toEqual(['etcd-snapshot-n1-7', 'etcd-snapshot-n1-5']);
  });

  it('neither counts nor touches those of a time that has not come, and says so', () => {
    const ahead = [7, 8, 9].map((seconds) => exampleSnapshot(`etcd-snapshot-n1-${seconds}`));
    const now = new Date(5_000);
    expect(plan([...five, ...ahead], { now })).toEqual({
      gone: ['etcd-snapshot-n1-1', 'etcd-snapshot-n1-2', 'etcd-snapshot-n1-3'],
      kept: [
        'etcd-snapshot-n1-9',
        'etcd-snapshot-n1-8',
        'etcd-snapshot-n1-7',
        'etcd-snapshot-n1-5',
        'etcd-snapshot-n1-4',
      ],
    });
    const { keep } = planRetention([...five, ...ahead], { ...policy, now });
    expect(keep.filter(({ early }) => early).map(({ why }) => why)).toEqual(
      ahead.map(() => 'its time has not come yet, so it is not counted'),
    );
    expect(plan([...five, ...ahead], { now: new Date(9_000) }).gone).toContain('etcd-snapshot-n1-5');
  });

  it('takes the second that a time was rounded up by for no time to come', () => {
    const now = new Date(4_500);
    expect(plan(five, { now }).kept).toEqual(['etcd-snapshot-n1-5', 'etcd-snapshot-n1-4']);
  });

  it('lets none go that is spared, however old its name says it is, and counts as ever', () => {
    const spared = ({ name }: Snapshot) =>
      name === 'etcd-snapshot-n1-1' ? 'it has just been made' : undefined;
    expect(plan(five, { spared })).toEqual({
      gone: ['etcd-snapshot-n1-2', 'etcd-snapshot-n1-3'],
      kept: ['etcd-snapshot-n1-5', 'etcd-snapshot-n1-4', 'etcd-snapshot-n1-1'],
    });
    const { keep } = planRetention(five, { ...policy, spared });
    expect(keep.at(-1)?.why).toBe('it has just been made');
  });

  it('goes by the time in the name, whatever a record says of it', () => {
    const [newest = exampleSnapshot('')] = five.filter(({ name }) => name.endsWith('-5'));
    const claimed = five.map((one) => (one === newest ? { ...one, createdAt: new Date(0) } : one));
    expect(plan(claimed)).toEqual(plan(five));
  });

  it('decides the same for equal times, whatever the order of the listing', () => {
    const equal = ['etcd-snapshot-n1-5', 'etcd-snapshot-n1-5.zip'].map((name) => exampleSnapshot(name));
    expect(plan(equal, { keep: 1 })).toEqual(plan(equal.toReversed(), { keep: 1 }));
  });
});
