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
}

function record(of: Snapshot, { spec, status, applied = false }: Change = {}): InventoryRecord {
  const file = toSnapshotFile(of, 'k3s');
  const changed = { spec: { ...file.spec, ...spec }, status: { ...file.status, ...status } };
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
}

/** Looks at S3, as often as asked; tells of the last look what was looked up, found, and deleted. */
async function look({ objects, records = [], keep = 0, legacy = {}, reconcile }: World, times = 1) {
  const removed: string[] = [];
  let lookedUp: string[] = [];
  let found: Found | undefined;
  let outcome: unknown;
  const shared = {
    kind: 's3',
    async list(_signal: AbortSignal, recall: Recall) {
      lookedUp = [];
      return objects.map((one) => {
        const known = recall({ name: one.name, size: one.size, etag: one.etag });
        if (known === undefined) lookedUp.push(one.name);
        return known ?? one;
      });
    },
    stat: async (name: string) => objects.find((one) => one.name === name),
    remove: async (name: string) => removed.push(name) > 0,
  };
  const parts = {
    program: 'k3s',
    records: { synced: true, fresh: true, keptBy: () => records },
    writer: { release: async () => true },
    events: { emit: () => {} },
    reread: async (name: string) => records.find(({ file }) => file.metadata.name === name)?.file,
    inventory: {
      monotonic: () => 0,
      reconcile: async (what: Found) => {
        found = what;
        return reconcile?.() ?? 0;
      },
    },
    scheduledBase: 'etcd-snapshot',
    clusterId: async () => 'ours',
    legacyMetadata: async () => new Map(Object.entries(legacy)),
    now: () => new Date('2024-11-01T00:00:00Z'),
    onSnapshots: () => {},
    onDeleted: () => {},
    onDeletionFailed: () => {},
  };
  const place = { store: 's3', endpoint: 's3.example.com', bucket: 'etcd', prefix: 'a' };
  const view = { state: 'ready', shared, place, retention: keep };
  const run = createS3Inventory(parts as unknown as S3InventoryParts);
  for (let time = 0; time < times; time += 1) {
    outcome = await run(view as unknown as S3Ready, never).catch((error: unknown) => error);
  }
  return { lookedUp, removed, outcome, snapshots: found?.snapshots ?? [], found };
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
    expect((await look({ objects: [foreign] }, 2)).lookedUp).toEqual([]);
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
  const three = [3, 2, 1].map((seconds) => object(seconds));
  const records = three.map((one) => record(one));

  it('deletes what is past it', async () => {
    expect(await look({ objects: three, records, keep: 2 })).toMatchObject({
      removed: [nameAt(1)],
      outcome: true,
    });
  });

  it('deletes nothing of a cluster that only a copied record says is ours', async () => {
    const theirs = three.map((one) => ({ ...one, clusterId: 'theirs' }));
    for (const applied of [true, false]) {
      const copied = three.map((one) => record(one, { applied }));
      expect((await look({ objects: theirs, records: copied, keep: 1 })).removed).toEqual([]);
    }
  });

  it('is kept although a record could not be written, which is told all the same', async () => {
    const refused = new SnapshotError('forbidden', 'not that one');
    const reconcile = () => Promise.reject(refused);
    expect(await look({ objects: three, records, keep: 2, reconcile })).toMatchObject({
      removed: [nameAt(1)],
      outcome: refused,
    });
  });

  it('deletes nothing any more when the look was ended', async () => {
    const reconcile = () => Promise.reject(new SnapshotError('aborted', 'ended'));
    expect((await look({ objects: three, records, keep: 2, reconcile })).removed).toEqual([]);
  });
});
