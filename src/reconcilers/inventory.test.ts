import { expect, it } from 'vitest';
import { toSnapshotFile } from '../crds/mapping.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import { createInventory, type InventoryParts } from './inventory.ts';
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

/** Looks at a folder that is suddenly empty, at these times, and says how many records went each time. */
async function lookAt(times: readonly number[], of = 12): Promise<number[]> {
  const left = records(of);
  const warnings: string[] = [];
  let now = 0;
  const inventory = createInventory({
    program: 'k3s',
    store: 'local',
    keeper: 'node-1',
    records: { keptBy: () => left },
    writer: { release: async (record: InventoryRecord) => left.splice(left.indexOf(record), 1).length === 1 },
    events: { emit: (_file: unknown, _type: string, reason: string) => warnings.push(reason) },
    youngMs: 0,
    guardMs: 60_000,
    now: () => new Date(0),
    monotonic: () => now,
  } as unknown as InventoryParts);
  const gone: number[] = [];
  for (const time of times) {
    now = time;
    const found = { snapshots: [], isGone: async () => true, inPlace: () => true };
    gone.push(await inventory.reconcile(found, never));
  }
  return gone;
}

it('lets a few records go at once', async () => {
  expect(await lookAt([HOUR], 10)).toEqual([10]);
});

it('lets many go when two more looks agree, and looks in quick succession are one', async () => {
  expect(await lookAt([0, 60_000, 120_000].map((at) => HOUR + at))).toEqual([0, 0, 12]);
  const hasty = [0, 100, 200, 60_000, 60_100, 119_999, 120_000].map((at) => HOUR + at);
  expect(await lookAt(hasty)).toEqual([0, 0, 0, 0, 0, 0, 12]);
});
