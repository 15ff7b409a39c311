import { describe, expect, it } from 'vitest';
import { exampleS3Location, exampleSnapshot } from '../../test/support/example-snapshots.ts';
import type { ETCDSnapshotFile } from '../crds/etcd-snapshot-file.ts';
import { toSnapshotFile } from '../crds/mapping.ts';
import { SnapshotError } from '../errors.ts';
import type { SnapshotStore } from '../snapshot/ports.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import type { InventoryRecord } from './inventory-plan.ts';
import { type PruneParts, type PrunePolicy, pruneStore } from './prune.ts';

const never = new AbortController().signal;
const HOLD = 'etcd.k3s.cattle.io/snapshot-hold';
const held = { annotations: { [HOLD]: '' } };
const now = new Date('2024-11-01T00:00:00Z');
const START = 1_730_308_810;
const at = (seconds: number) => `etcd-snapshot-n1-${START + seconds}`;
const inS3 = (name: string, overrides: Partial<Snapshot> = {}) =>
  exampleSnapshot(name, { location: exampleS3Location(name), clusterId: 'ours', ...overrides });
/** Newest first. */
const three = [3, 2, 1].map((seconds) => inS3(at(seconds)));
const [newest = inS3(''), middle = inS3(''), oldest = inS3('')] = three;

interface Change {
  readonly metadata?: Partial<ETCDSnapshotFile['metadata']>;
  readonly spec?: Partial<ETCDSnapshotFile['spec']>;
  readonly applied?: boolean;
}

function record(of: Snapshot, { metadata, spec, applied = false }: Change = {}): InventoryRecord {
  const file = toSnapshotFile(of, 'k3s');
  const all = { ...file, metadata: { ...file.metadata, ...metadata }, spec: { ...file.spec, ...spec } };
  return { file: all, applied, seenAt: 0 };
}

interface World {
  /** What the listing says; the objects themselves unless given. */
  readonly listed?: readonly Snapshot[];
  /** What is there when it is asked for by name. */
  readonly objects?: readonly Snapshot[];
  readonly records?: readonly InventoryRecord[];
  /** The same on the API server, where it is not what the watch has shown. */
  readonly current?: readonly InventoryRecord[];
  readonly fresh?: boolean;
  readonly policy?: Partial<PrunePolicy>;
  readonly stat?: (name: string) => Promise<never> | undefined;
  /** How often a record has changed when it is to be released. */
  readonly conflicts?: number;
  /** Gets what is said of how retention fares. */
  readonly told?: string[];
}

/** Prunes once, keeping one, and returns what it did, in order. */
async function prune(world: World = {}): Promise<string[]> {
  const { objects = three, listed = objects, records = objects.map((one) => record(one)) } = world;
  const { current = records } = world;
  const { told = [] } = world;
  let { conflicts = 0 } = world;
  const diary: string[] = [];
  const write = (what: string) => async (file: InventoryRecord) =>
    diary.push(`${what} ${file.file.metadata.name}`) > 0;
  const kind = objects[0]?.location.store ?? 's3';
  const store = {
    kind,
    stat: async (name: string) => world.stat?.(name) ?? objects.find((one) => one.name === name),
    remove: async (name: string) => diary.push(`remove ${name}`) > 0,
  };
  const parts = {
    program: 'k3s',
    records: { synced: true, fresh: world.fresh ?? true, keptBy: () => records },
    writer: {
      async release(one: InventoryRecord) {
        if (conflicts === 0) return write('release')(one);
        conflicts -= 1;
        await write('conflict')(one);
        throw new SnapshotError('conflict', 'it has changed', { retryable: true });
      },
      mark: write('mark'),
    },
    events: {
      emit: ({ metadata }: ETCDSnapshotFile, _type: string, reason: string) =>
        diary.push(`${reason} ${metadata.name}`),
    },
    reread: async (name: string) => current.find(({ file }) => file.metadata.name === name)?.file,
    onDeleted: () => {},
    onDeletionFailed: () => diary.push('failed'),
    onPruned: (_store: string, error?: SnapshotError) => told.push(error?.message ?? 'works'),
  };
  const place =
    kind === 's3'
      ? ({ store: 's3', endpoint: 's3.example.com', bucket: 'etcd', prefix: 'a' } as const)
      : ({ store: 'local', dir: '/snapshots' } as const);
  const policy = {
    base: 'etcd-snapshot',
    keep: 1,
    keeper: 's3',
    place,
    clusterId: 'ours',
    now,
    ...world.policy,
  };
  await pruneStore(
    parts as unknown as PruneParts,
    store as unknown as SnapshotStore,
    listed,
    policy,
    never,
  ).catch((error: Error) => diary.push(`throws ${error.message}`));
  return diary;
}

const nameOf = (of: Snapshot) => record(of).file.metadata.name;
const gone = (of: Snapshot) => [`release ${nameOf(of)}`, `ETCDSnapshotDeleted ${nameOf(of)}`];
const removed = (...names: string[]) => names.map((name) => `remove ${name}`);

describe('pruneStore', () => {
  it('deletes what is past retention, the oldest first, data first and then the record', async () => {
    const told: string[] = [];
    expect(await prune({ told })).toEqual([...removed(at(1), at(2)), ...gone(oldest), ...gone(middle)]);
    expect(told).toEqual(['works']);
  });

  it('deletes nothing while the records are not known, or may be old, and says so', async () => {
    const told: string[] = [];
    expect(await prune({ fresh: false, told })).toEqual([]);
    expect(told).toEqual(['Nothing is deleted for retention']);
  });

  it('deletes nothing when what it would keep cannot be asked', async () => {
    const stat = async () => {
      throw new SnapshotError('unavailable', 'S3 is away');
    };
    const told: string[] = [];
    expect(await prune({ stat, told })).toEqual(['throws S3 is away']);
    expect(told).toEqual(['S3 is away']);
  });

  it('goes on when one that it would keep must not be looked at: that drives nothing out, and is told', async () => {
    const refused = new SnapshotError('forbidden', 'Cannot look it up');
    const stat = (name: string) => (name === at(3) ? Promise.reject(refused) : undefined);
    const told: string[] = [];
    expect(await prune({ stat, told })).toEqual([...removed(at(1)), ...gone(oldest)]);
    expect(told).toEqual(['Cannot look it up']);
  });

  it('asks each object whose it is, and believes no listing and no record', async () => {
    const foreign = inS3(at(1), { clusterId: 'theirs' });
    const { clusterId: _, ...unknown } = middle;
    expect(await prune({ listed: three, objects: [newest, unknown, foreign] })).toEqual([
      `ETCDSnapshotNotDeleted ${nameOf(oldest)}`,
      `ETCDSnapshotNotDeleted ${nameOf(middle)}`,
    ]);
  });

  it('lets no other cluster’s object, nor one that is gone, drive one of ours out', async () => {
    const foreign = inS3(at(3), { clusterId: 'theirs' });
    const records = three.map((one) => record(one));
    const expected = [...removed(at(1)), ...gone(oldest)];
    expect(await prune({ listed: three, records, objects: [foreign, middle, oldest] })).toEqual(expected);
    expect(await prune({ listed: three, records, objects: [middle, oldest] })).toEqual(expected);
  });

  it('deletes nothing that no cluster’s policy is about', async () => {
    expect(await prune({ policy: { clusterId: 'another' } })).toEqual([]);
  });

  it('keeps a copy that one of its records holds, whichever', async () => {
    const theirs = { name: 's3-of-newer-k3s' };
    for (const [first, second] of [
      [held, theirs],
      [{}, { ...theirs, ...held }],
    ] as const) {
      const both = (of: Snapshot) => [record(of, { metadata: first }), record(of, { metadata: second })];
      const records = [record(newest), record(middle), ...both(oldest)];
      expect(await prune({ records })).toEqual([...removed(at(2)), ...gone(middle)]);
      // Nor is it counted, so the next one is the newest.
      const ofNewest = [...both(newest), record(middle), record(oldest)];
      expect(await prune({ records: ofNewest })).toEqual([...removed(at(1)), ...gone(oldest)]);
    }
  });

  it.each([
    [
      'bucket',
      { location: `s3://old/a/${at(1)}`, s3: { endpoint: 's3.example.com', bucket: 'old', prefix: 'a' } },
    ],
    ['endpoint', { s3: { endpoint: 'old.example.com', bucket: 'etcd', prefix: 'a' } }],
  ])('believes no record of another %s, and lets none go', async (_, spec) => {
    const ofOther = { spec, metadata: { name: 's3-other' } };
    const here = [record(newest), record(middle), record(oldest, { metadata: held })];
    expect(await prune({ records: [...here, record(oldest, ofOther)] })).toEqual([
      ...removed(at(2)),
      ...gone(middle),
    ]);
    const heldThere = { spec, metadata: { ...held, name: 's3-other' } };
    expect(await prune({ records: [...three.map((one) => record(one)), record(oldest, heldThere)] })).toEqual(
      [...removed(at(1), at(2)), ...gone(oldest), ...gone(middle)],
    );
  });

  it.each<[string, Change]>([
    ['holds it', { metadata: held }],
    ['deletes its record', { metadata: { deletionTimestamp: '2024-10-31T00:00:00Z' } }],
  ])('keeps a copy when somebody %s, and the watch has not told yet', async (_, change) => {
    const current = [record(newest), record(middle), record(oldest, change)];
    expect(await prune({ current })).toEqual([...removed(at(2)), ...gone(middle)]);
  });

  it('keeps a copy when its record is gone meanwhile, or has not been made yet', async () => {
    const two = [record(newest), record(middle)];
    const expected = [...removed(at(2)), ...gone(middle)];
    expect(await prune({ current: two })).toEqual(expected);
    expect(await prune({ records: two })).toEqual(expected);
  });

  it('keeps a copy when the record of its name is of another one by now', async () => {
    const moved = { location: `s3://old/a/${at(1)}` };
    const current = [record(newest), record(middle), record(oldest, { spec: moved })];
    expect(await prune({ current })).toEqual([...removed(at(2)), ...gone(middle)]);
  });

  it('marks what somebody applied, and lets every other record of the copy go', async () => {
    const records = [
      record(newest),
      record(oldest, { applied: true }),
      record(oldest, { metadata: { name: 's3-other' } }),
    ];
    expect(await prune({ objects: [newest, oldest], records })).toEqual([
      ...removed(at(1)),
      `mark ${nameOf(oldest)}`,
      'release s3-other',
      'ETCDSnapshotDeleted s3-other',
    ]);
  });

  it('never deletes what its run has just made, though a clock that was ahead makes it look old', async () => {
    expect(await prune({ policy: { made: new Set([at(1)]) } })).toEqual([...removed(at(2)), ...gone(middle)]);
  });

  it('neither counts nor deletes what is of a time to come, and warns of the clock', async () => {
    const ahead = [inS3(at(190_000)), inS3(at(180_000))];
    expect(await prune({ objects: [...ahead, newest, oldest] })).toEqual([
      ...ahead.map((one) => `ETCDSnapshotClock ${nameOf(one)}`),
      ...removed(at(1)),
      ...gone(oldest),
    ]);
  });

  it('keeps what was recorded last, when that was long after the one that seems the newest', async () => {
    const recordedAt = (creationTimestamp: string) => ({ metadata: { creationTimestamp } });
    const early = recordedAt('2024-10-30T17:20:13Z');
    const records = (time: string) => [
      record(newest, early),
      record(middle, early),
      record(oldest, recordedAt(time)),
    ];
    const all = [...removed(at(1), at(2)), ...gone(oldest), ...gone(middle)];
    expect(await prune({ records: records('2024-10-30T17:20:43Z') })).toEqual(all);
    expect(await prune({ records: records('2024-10-31T05:20:00Z') })).toEqual([
      ...removed(at(2)),
      ...gone(middle),
    ]);
  });

  it('lets a record go whose data it has deleted, also when somebody has just written to it', async () => {
    expect(await prune({ objects: [newest, oldest], conflicts: 1 })).toEqual([
      ...removed(at(1)),
      `conflict ${nameOf(oldest)}`,
      ...gone(oldest),
    ]);
  });

  it('does the same on a disk, where no cluster is asked for', async () => {
    const onDisk = [2, 1].map((seconds) => exampleSnapshot(at(seconds)));
    expect(await prune({ objects: onDisk, policy: { keeper: 'n1' } })).toEqual([
      ...removed(at(1)),
      ...onDisk.slice(1).flatMap(gone),
    ]);
  });
});
