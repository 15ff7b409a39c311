import { describe, expect, it } from 'vitest';
import type { ETCDSnapshotFile } from '../crds/etcd-snapshot-file.ts';
import { fromSnapshotFile, toSnapshotFile } from '../crds/mapping.ts';
import { SnapshotError } from '../errors.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import {
  createInventory,
  type Found,
  type InventoryParts,
  type Refused,
  type Suspended,
} from './inventory.ts';
import type { InventoryRecord } from './inventory-plan.ts';

const never = new AbortController().signal;
const HOUR = 3_600_000;

function records(count: number): InventoryRecord[] {
  return Array.from({ length: count }, (_, at) => {
    const name = `etcd-snapshot-node-1-${1_730_308_816 + at}`;
    const snapshot: Snapshot = {
      name,
      nodeName: 'node-1',
      createdAt: new Date(0),
      size: 1056,
      compressed: false,
      location: { store: 'local', path: `/snapshots/${name}` },
    };
    return { file: toSnapshotFile(snapshot, 'k3s'), applied: false, seenAt: 0 };
  });
}

interface World {
  /** What there is of records at this moment. */
  readonly left: InventoryRecord[];
  readonly now?: () => number;
  /** When the record of a copy was seen to go. */
  readonly went?: number;
  readonly write?: (name: string) => Promise<unknown>;
  readonly fresh?: boolean;
}

/** An inventory of a folder, and a diary of what it does: the names of snapshots. */
function world({ left, now = () => HOUR, went, write = async () => true, fresh = true }: World) {
  const diary: string[] = [];
  const suspended: (Suspended | undefined)[] = [];
  const refused: (Refused | undefined)[] = [];
  const inventory = createInventory({
    program: 'k3s',
    store: 'local',
    keeper: 'node-1',
    records: { fresh, keptBy: () => left },
    writer: {
      async publish({ name }: Snapshot) {
        diary.push(`publish ${name}`);
        return (await write(name)) !== false;
      },
      refresh: async (_record: InventoryRecord, { name }: Snapshot) => diary.push(`refresh ${name}`),
      release: async (record: InventoryRecord) => left.splice(left.indexOf(record), 1).length === 1,
    },
    events: { emit: (_file: unknown, _type: string, reason: string) => diary.push(reason) },
    onRefused: (found: Refused | undefined) => refused.push(found),
    onSuspended: (found: Suspended | undefined) => suspended.push(found),
    wentSince: (_snapshot: Snapshot, since: number) => went !== undefined && went >= since,
    youngMs: 0,
    guardMs: 60_000,
    now: () => new Date(0),
    monotonic: now,
  } as unknown as InventoryParts);
  return { inventory, diary, suspended, refused };
}

const empty: Found = { snapshots: [], since: 0, isGone: async () => true, inPlace: () => true };

/** Looks at a folder that is suddenly empty, at these times, and says how many records went each time. */
async function lookAt(times: readonly number[], left = records(12), change: (at: number) => void = () => {}) {
  let now = 0;
  const { inventory } = world({ left, now: () => now });
  const gone: number[] = [];
  for (const [at, time] of times.entries()) {
    now = time;
    change(at);
    gone.push(await inventory.reconcile(empty, never));
  }
  return gone;
}

it('lets a few records go at once', async () => {
  expect(await lookAt([HOUR], records(10))).toEqual([10]);
});

const minutes = (count: number) => Array.from({ length: count }, (_, at) => HOUR + at * 60_000);

it('lets many go when two more looks agree, and looks in quick succession are one', async () => {
  expect(await lookAt(minutes(3))).toEqual([0, 0, 12]);
  const hasty = [0, 100, 200, 60_000, 60_100, 119_999, 120_000].map((at) => HOUR + at);
  expect(await lookAt(hasty)).toEqual([0, 0, 0, 0, 0, 0, 12]);
});

it('tells in each look that much has vanished and stays, for as long as it does', async () => {
  const { inventory, diary, suspended } = world({ left: records(12), now: () => times.shift() ?? 0 });
  const times = minutes(3);
  for (const _ of [1, 2, 3]) await inventory.reconcile(empty, never);
  const found = { missing: 12, of: 12 };
  expect(suspended).toEqual([found, found, undefined]);
  expect(diary.filter((what) => what === 'ETCDSnapshotsVanished')).toHaveLength(2);
});

it('takes no look that misses other records for one that agrees', async () => {
  const all = records(13);
  const left = all.slice(1);
  const change = (at: number) => {
    // One that was there, or that nobody knew of, is missing too.
    if (at === 2) left.push(...all.slice(0, 1));
  };
  expect(await lookAt(minutes(5), left, change)).toEqual([0, 0, 0, 0, 13]);
});

it('believes a look that misses fewer of the same', async () => {
  const left = records(12);
  const change = (at: number) => {
    if (at === 2) left.pop();
  };
  expect(await lookAt(minutes(3), left, change)).toEqual([0, 0, 11]);
});

it('begins to count anew after a look that missed nothing', async () => {
  const left = records(12);
  const { inventory, diary } = world({ left, now: () => times.shift() ?? 0 });
  const times = minutes(6);
  const all = left.map(({ file }) => fromSnapshotFile(file, 'k3s'));
  const gone: number[] = [];
  for (const snapshots of [[], [], all, [], [], []]) {
    gone.push(await inventory.reconcile({ ...empty, snapshots }, never));
  }
  expect(gone).toEqual([0, 0, 0, 0, 0, 12]);
  expect(diary.filter((what) => what === 'ETCDSnapshotsVanished')).toHaveLength(4);
});

describe('a record that somebody deletes while its place is listed', () => {
  const [record] = records(1);
  const snapshot = fromSnapshotFile(record?.file as ETCDSnapshotFile, 'k3s');
  const changed = { ...snapshot, size: 1568 };

  it.each<[string, InventoryRecord[], Snapshot]>([
    ['made again', [], snapshot],
    ['written to', records(1), changed],
  ])('is not %s when its data are gone too', async (_, left, listed) => {
    const scene = world({ left, went: 7 });
    expect(await scene.inventory.reconcile({ ...empty, snapshots: [listed], since: 7 }, never)).toBe(0);
    expect(scene.diary).toEqual([]);
  });

  it.each([
    ['its data were kept', 7, false],
    ['that was before the listing', 8, true],
  ])('is made again when %s', async (_, since, gone) => {
    const scene = world({ left: [], went: 7 });
    const found = { ...empty, snapshots: [snapshot], since, isGone: async () => gone };
    expect(await scene.inventory.reconcile(found, never)).toBe(1);
    expect(scene.diary).toEqual([`publish ${snapshot.name}`]);
  });
});

it('asks this place for no data of a failure in another one', async () => {
  const [one] = records(1);
  const failed = one as InventoryRecord;
  const status = { readyToUse: false, error: { time: '1969-12-01T00:00:00Z', message: 'x' } };
  const left = [{ ...failed, file: { ...failed.file, status } }];
  const scene = world({ left });
  const found = { ...empty, inPlace: () => false, isGone: async () => false };
  expect(await scene.inventory.reconcile(found, never)).toBe(1);
  expect(left).toEqual([]);
});

describe('a copy that the API server takes no record of', () => {
  const snapshots = records(3).map(({ file }) => fromSnapshotFile(file, 'k3s'));
  const error = new SnapshotError('protocol', 'its time is none');
  const refusing = (...names: readonly (string | undefined)[]) =>
    world({
      left: [],
      async write(name) {
        if (names.includes(name)) throw error;
      },
    });

  it('is told, and all others are in step: that is no failure', async () => {
    const name = snapshots[1]?.name;
    const { inventory, refused, diary } = refusing(name);
    expect(await inventory.reconcile({ ...empty, snapshots }, never)).toBe(2);
    expect(diary).toHaveLength(3);
    await inventory.reconcile({ ...empty, snapshots: snapshots.slice(0, 1) }, never);
    expect(refused).toEqual([{ copies: 1, name, error }, undefined]);
  });

  it('is a failure when it takes none at all', async () => {
    const { inventory, refused } = refusing(...snapshots.map(({ name }) => name));
    await expect(inventory.reconcile({ ...empty, snapshots }, never)).rejects.toBe(error);
    expect(refused).toMatchObject([{ copies: 3 }]);
  });
});

it('removes no record for a complete listing that lacks a snapshot which is there when it is asked for', async () => {
  const left = records(2);
  const [first, second] = left.map(({ file }) => file.spec.snapshotName);
  const { inventory, diary } = world({ left });
  const found = { ...empty, isGone: async (name: string) => name === second };
  expect(await inventory.reconcile(found, never)).toBe(1);
  expect(left.map(({ file }) => file.spec.snapshotName)).toEqual([first]);
  expect(diary).toEqual(['ETCDSnapshotDeleted']);
});

it.each<[string, Partial<World>]>([
  ['the watch of the records is cut off', { fresh: false }],
  ['the records say so already', { write: async () => false }],
])('takes it for no fight that it wants the same again and again while %s', async (_, change) => {
  const [{ file } = { file: undefined }] = records(1);
  const snapshots = [fromSnapshotFile(file as ETCDSnapshotFile, 'k3s')];
  const looks = async (inventory: ReturnType<typeof world>['inventory']) => {
    for (let look = 0; look < 9; look += 1) await inventory.reconcile({ ...empty, snapshots }, never);
  };
  await looks(world({ left: [], ...change }).inventory);
  await expect(looks(world({ left: [] }).inventory)).rejects.toMatchObject({ code: 'busy' });
});

describe('two operators that call themselves the same node', () => {
  /** One has the file, and the other has not: each looks when the other has written. */
  async function fight(minutes: number) {
    const [{ file } = { file: undefined }] = records(1);
    const snapshot = fromSnapshotFile(file as ETCDSnapshotFile, 'k3s');
    const left: InventoryRecord[] = [];
    let now = HOUR;
    const told = new Set<string>();
    let writes = 0;
    const [owner, other] = [world({ left, now: () => now }), world({ left, now: () => now })];
    const look = async (which: typeof owner, snapshots: readonly Snapshot[]) => {
      const before = writes;
      try {
        const wrote = await which.inventory.reconcile({ ...empty, snapshots }, never);
        writes += wrote;
        if (snapshots.length > 0 && wrote > 0) left.push(...records(1));
      } catch (error) {
        told.add(`${(error as SnapshotError).message}: ${(error as SnapshotError).why}`);
      }
      return writes > before;
    };
    while (now < HOUR + minutes * 60_000) {
      await look(owner, [snapshot]);
      await look(other, []);
      now += 150;
    }
    return { writes, told: [...told], owner, snapshot, look, left, later: (ms: number) => (now += ms) };
  }

  it('stop, say what is wrong, and go on slowly', async () => {
    const { writes, told } = await fight(16);
    expect(writes).toBeLessThanOrEqual(4 * 10);
    expect(told).toHaveLength(1);
    expect(told[0]).toMatch(/node node-1 are left alone.*another operator calls itself node node-1/);
  });

  it('are in step again once the other one is gone', async () => {
    const { owner, snapshot, look, left, later } = await fight(1);
    later(300_000);
    left.length = 0;
    expect(await look(owner, [snapshot])).toBe(true);
    expect(await look(owner, [snapshot])).toBe(false);
    expect(left).toHaveLength(1);
  });
});

it('a file that grows or is described anew again and again is nobody’s fight', async () => {
  const left = records(1);
  const [record] = left;
  const snapshot = fromSnapshotFile(record?.file as ETCDSnapshotFile, 'k3s');
  const { inventory } = world({ left });
  for (let at = 1; at <= 20; at += 1) {
    const [bigger, noted] = [{ size: 5_664 + 512 * at }, { metadata: { at: String(at) } }];
    for (const change of [bigger, noted])
      expect(await inventory.reconcile({ ...empty, snapshots: [{ ...snapshot, ...change }] }, never)).toBe(1);
  }
});
