import { describe, expect, it } from 'vitest';
import { exampleS3Location, exampleSnapshot } from '../../test/support/example-snapshots.ts';
import type { ETCDSnapshotFile } from '../crds/etcd-snapshot-file.ts';
import { toSnapshotFile } from '../crds/mapping.ts';
import { SnapshotError } from '../errors.ts';
import type { Recall } from '../snapshot/ports.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import type { Found } from './inventory.ts';
import type { InventoryRecord } from './inventory-plan.ts';
import type { S3Ready } from './ports.ts';
import { createS3Inventory, type S3InventoryParts } from './s3-inventory.ts';

const never = new AbortController().signal;
const START = 1_730_308_810;
const DAY = 86_400;
/** Seconds by which the records of what was found and of a new upload differ at least. */
const APART = 600;
const nameAt = (seconds: number) => `etcd-snapshot-n1-${START + seconds}`;

function object(seconds: number, overrides: Partial<Snapshot> = {}): Snapshot {
  const name = nameAt(seconds);
  const ours = { location: exampleS3Location(name), clusterId: 'ours', etag: `etag-${seconds}` };
  return exampleSnapshot(name, { ...ours, ...overrides });
}

interface Change {
  readonly spec?: Partial<ETCDSnapshotFile['spec']>;
  readonly status?: Partial<ETCDSnapshotFile['status']>;
  readonly applied?: boolean;
  /** When the record was made, in seconds after the first snapshot. */
  readonly at?: number;
}

const timeAt = (seconds: number) => new Date((START + seconds) * 1_000);

/** Made when the snapshot was taken, unless said otherwise. */
function record(of: Snapshot, { spec, status, applied = false, at }: Change = {}): InventoryRecord {
  const file = toSnapshotFile(of, 'k3s');
  const creationTimestamp = (at === undefined ? of.createdAt : timeAt(at)).toISOString();
  const changed = {
    metadata: { ...file.metadata, creationTimestamp },
    spec: { ...file.spec, ...spec },
    status: { ...file.status, ...status },
  };
  return { file: { ...file, ...changed }, applied, seenAt: 0 };
}

interface World {
  readonly objects: readonly Snapshot[];
  readonly records?: readonly InventoryRecord[];
  readonly keep?: number;
  /** What k3s's old ConfigMap knows, by list key. */
  readonly legacy?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** What bringing the records into step ends with. */
  readonly reconcile?: () => Promise<number>;
  /** In seconds after the first snapshot. */
  readonly now?: number;
  /** Since when place and retention are the same, in seconds after the first snapshot. */
  readonly ruled?: number;
  /** The folder, which all objects are in. */
  readonly prefix?: string;
  readonly outdated?: AbortSignal;
  /** One that is listed, and not there any more when it is asked for. */
  readonly vanished?: string | undefined;
  /** The object at which a listing fails that has to look it up. */
  readonly breaksAt?: string | undefined;
}

/** Looks at S3, and again after each change; tells of the last look what was looked up, found, and deleted. */
async function look(first: World, ...changes: readonly Partial<World>[]) {
  let world = first;
  const removed: string[] = [];
  const waiting: number[] = [];
  const told: string[] = [];
  let lookedUp: string[] = [];
  let found: Found | undefined;
  let outcome: unknown;
  const known = () => world.records ?? [];
  const location = (name: string) => exampleS3Location(name, { prefix: world.prefix ?? 'a' });
  const shared = {
    kind: 's3',
    async list(_signal: AbortSignal, recall: Recall) {
      lookedUp = [];
      return world.objects.map((one) => {
        const known = recall({ name: one.name, size: one.size, etag: one.etag });
        if (known !== undefined) return known;
        if (world.breaksAt === one.name) throw new SnapshotError('timeout', 'too slow');
        lookedUp.push(one.name);
        const found = { ...one, location: location(one.name) };
        recall.lookedUp?.(found);
        return found;
      });
    },
    stat: async (name: string) => world.objects.find((one) => one.name === name && name !== world.vanished),
    remove: async (name: string) => removed.push(name) > 0,
  };
  const run = createS3Inventory({
    program: 'k3s',
    records: { synced: true, fresh: true, keptBy: known },
    writer: { release: async () => true },
    events: { emit: () => {} },
    reread: async (name: string) => known().find(({ file }) => file.metadata.name === name)?.file,
    inventory: {
      monotonic: () => 0,
      reconcile: async (what: Found) => {
        found = what;
        return world.reconcile?.() ?? 0;
      },
    },
    scheduledBase: 'etcd-snapshot',
    clusterId: async () => 'ours',
    legacyMetadata: async () => new Map(Object.entries(world.legacy ?? {})),
    now: () => timeAt(world.now ?? DAY),
    apartMs: APART * 1_000,
    onSnapshots: () => {},
    onWaiting: (count: number) => waiting.push(count),
    onDeleted: () => {},
    onDeletionFailed: () => {},
    onPruned: (_store: string, error?: SnapshotError) => told.push(error?.message ?? 'works'),
  } as unknown as S3InventoryParts);
  for (const change of [{}, ...changes]) {
    world = { ...world, ...change };
    const { prefix = 'a', keep: retention = 0, outdated = never } = world;
    const place = { store: 's3', endpoint: 's3.example.com', bucket: 'etcd', prefix };
    const ruledSince = timeAt(world.ruled ?? 2.5 * 3_600);
    const ready = { state: 'ready', shared, place, retention, outdated, ruledSince, location };
    const view = ready as unknown as S3Ready;
    outcome = await run(view, never).catch((error: unknown) => error);
  }
  return { lookedUp, removed, outcome, snapshots: found?.snapshots ?? [], found, waiting, told };
}

describe('an object that a record remembers', () => {
  const one = object(1);

  it('is not looked up again', async () => {
    const { lookedUp, snapshots } = await look({ objects: [one], records: [record(one)] });
    expect(lookedUp).toEqual([]);
    expect(snapshots).toMatchObject([{ name: one.name, clusterId: 'ours', nodeName: 'n1' }]);
  });

  it.each<[string, Snapshot, Change]>([
    ['it has another size', object(1, { size: 1056 }), {}],
    ['it has another ETag', object(1, { etag: 'other' }), {}],
    ['the record was applied by somebody, perhaps from another cluster', one, { applied: true }],
    ['the record is not ready', one, { status: { readyToUse: false } }],
    ['the record is of another bucket', one, { spec: { s3: { endpoint: 's3.example.com', bucket: 'b' } } }],
  ])('is looked up when %s', async (_, now, change) => {
    const { lookedUp, snapshots } = await look({ objects: [now], records: [record(one, change)] });
    expect(lookedUp).toEqual([one.name]);
    expect(snapshots).toEqual([now]);
  });

  it('has the time of its name, whatever the record says', async () => {
    const wrong = record(one, { status: { creationTime: '2024-10-31T23:00:00Z' } });
    const { snapshots } = await look({ objects: [one], records: [wrong] });
    expect(snapshots.map(({ createdAt }) => createdAt)).toEqual([one.createdAt]);
  });
});

describe('an object that no record remembers', () => {
  const foreign = object(1, { clusterId: 'theirs' });

  it('is looked up once', async () => {
    expect((await look({ objects: [foreign] }, {})).lookedUp).toEqual([]);
  });

  it('is not looked up again when the look failed later on', async () => {
    const objects = [object(1), object(2)];
    const { lookedUp, snapshots } = await look({ objects, breaksAt: nameAt(2) }, { breaksAt: undefined });
    expect(lookedUp).toEqual([nameAt(2)]);
    expect(snapshots).toHaveLength(2);
  });

  it('is of the place that is looked at, also when it has the same name and bytes there as where was looked before', async () => {
    const copies = { objects: [object(1)], prefix: 'b', outdated: new AbortController().signal };
    const { lookedUp, snapshots } = await look({ objects: [object(1)] }, copies);
    expect(lookedUp).toEqual([nameAt(1)]);
    expect(snapshots).toMatchObject([{ location: { prefix: 'b', key: `b/${nameAt(1)}` } }]);
  });

  it('gets no record when it is of another cluster, and one when nobody knows whose it is', async () => {
    const { clusterId: _, ...unknown } = object(2);
    expect((await look({ objects: [foreign, unknown] })).snapshots).toEqual([unknown]);
  });
});

describe('what k3s noted of an object in its old ConfigMap', () => {
  const odd = {
    name: 'before+after-n1-1730308811',
    location: exampleS3Location('before+after-n1-1730308811'),
  };
  const legacy = { [`s3-${nameAt(1)}`]: { team: 'a' }, 's3-before_after-n1-1730308811': { team: 'b' } };

  it('is adopted with its record, under the key that k3s gives it', async () => {
    const { snapshots } = await look({ objects: [object(1), object(1, odd)], legacy });
    expect(snapshots.map(({ metadata }) => metadata)).toEqual([{ team: 'a' }, { team: 'b' }]);
  });

  it('does not come in the place of what the object says, nor change a record that is there', async () => {
    const own = object(1, { metadata: { team: 'own' } });
    expect((await look({ objects: [own], legacy })).snapshots).toEqual([own]);
    const recorded = { objects: [object(1)], records: [record(object(1))], legacy };
    expect((await look(recorded)).snapshots[0]?.metadata).toBeUndefined();
  });
});

describe('retention in S3', () => {
  const HOUR = 3_600;
  const three = [3, 2, 1].map((hours) => object(hours * HOUR));
  const records = three.map((one) => record(one));
  const [, , oldest = object(0)] = three;
  const before = { objects: three.slice(1), records: records.slice(1), keep: 2, now: 2.5 * HOUR };
  const after = { objects: three, records, now: 4 * HOUR };

  it('deletes what is past it, once a new snapshot has been uploaded and recorded', async () => {
    expect(await look(before, after)).toMatchObject({ removed: [oldest.name], outcome: true });
  });

  /** One too many is there already, and another snapshot comes. */
  const uploaded = (start: string, nodeName = 'n1') => {
    const name = `${start}-${START + 3 * HOUR}`;
    const other = exampleSnapshot(name, { ...three[0], name, nodeName, location: exampleS3Location(name) });
    const [objects, of] = [
      [other, ...three.slice(1)],
      [record(other), ...records.slice(1)],
    ];
    return { ...after, objects, records: of, keep: 1 };
  };
  it.each<[string, World, ...Partial<World>[]]>([
    ['place and number to keep are the same only since the upload', before, { ...after, ruled: 3 * HOUR }],
    ['the upload has no record', before, { ...after, records: records.slice(1) }],
    ['the upload was not scheduled', { ...before, keep: 1 }, uploaded('by-hand-n1')],
    ['the upload is of another node', { ...before, keep: 1 }, uploaded('etcd-snapshot-n2', 'n2')],
  ])('deletes nothing while %s', async (_, ...looks) => {
    const [first, ...changes] = looks;
    expect((await look(first, ...changes)).removed).toEqual([]);
  });

  it('tells how many wait, and of a node whose uploads drive nothing out', async () => {
    const seen = await look({ ...before, keep: 1, ruled: DAY }, after);
    const told = ['works', 'Old snapshots of node n1 stay on S3'];
    expect(seen).toMatchObject({ waiting: [1, 2], told, removed: [] });
  });

  it('deletes nothing of what was found together with the upload, or shortly before', async () => {
    const foundAt = (seconds: number) => [
      record(three[0] ?? oldest),
      ...three.slice(1).map((one) => record(one, { at: 3 * HOUR - seconds })),
    ];
    const removedWith = async (records: readonly InventoryRecord[]) =>
      (await look({ ...before, records: [] }, { ...after, records })).removed;
    expect(await removedWith(foundAt(-1))).toEqual([]);
    expect(await removedWith(foundAt(APART - 1))).toEqual([]);
    expect(await removedWith(foundAt(APART))).toEqual([oldest.name]);
  });

  it('deletes what is past it of the node that uploads, and leaves the others to their own uploads', async () => {
    const other = (hours: number) => {
      const name = `etcd-snapshot-n2-${START + hours * HOUR}`;
      return object(hours * HOUR, { name, nodeName: 'n2', location: exampleS3Location(name) });
    };
    const others = [1.5, 1.2, 1].map(other);
    const all = {
      objects: [...three, ...others],
      records: [...records, ...others.map((one) => record(one))],
    };
    expect((await look(before, { ...after, ...all })).removed).toEqual([oldest.name]);
  });

  it('deletes nothing when the upload is gone by then', async () => {
    const gone = { ...after, vanished: three[0]?.name, keep: 1 };
    expect((await look({ ...before, keep: 1 }, gone)).removed).toEqual([]);
  });

  it('deletes nothing of a cluster that only a copied record says is ours', async () => {
    const theirs = three.map((one) => ({ ...one, clusterId: 'theirs' }));
    for (const applied of [true, false]) {
      const copied = three.map((one) => record(one, { applied }));
      const seen = { objects: theirs, records: copied, keep: 1 };
      expect((await look({ ...before, ...seen }, { ...after, ...seen })).removed).toEqual([]);
    }
  });

  it('is kept although a record could not be written, which is told all the same', async () => {
    const refused = new SnapshotError('forbidden', 'not that one');
    const reconcile = () => Promise.reject(refused);
    expect(await look(before, { ...after, reconcile })).toMatchObject({
      removed: [oldest.name],
      outcome: refused,
    });
  });

  it('deletes nothing any more when the look was ended', async () => {
    const reconcile = () => Promise.reject(new SnapshotError('aborted', 'ended'));
    expect((await look(before, { ...after, reconcile })).removed).toEqual([]);
  });
});
