import { isS3Record } from '../crds/claim.ts';
import { type ETCDSnapshotFile, type Program, recordKeys, S3_NODE } from '../crds/etcd-snapshot-file.ts';
import { locationUrl, type Snapshot } from '../snapshot/snapshot.ts';
import type { InventoryRecord } from './inventory-plan.ts';
import { keepingWishes } from './wishes.ts';

/** No listing takes longer. */
const REMEMBERED_MS = 3_600_000;

/** What is still to be known of records that are gone. Of this process: it has seen them go. */
export interface RecordMemory {
  /** To be told of every change of a record. Returns whether its data are to stay though it is gone. */
  changed(now: InventoryRecord | undefined, before: InventoryRecord | undefined): boolean;
  /** Whether a record of that copy has gone since then, on the clock that does not jump: then the copy may have gone too. */
  wentSince(snapshot: Snapshot, since: number): boolean;
  /** Annotations of its last record that its next one has to bear: a hold, a deletion policy that keeps. */
  wishesFor(snapshot: Snapshot): Readonly<Record<string, string>>;
}

/**
 * Remembers records that go. One that comes again would otherwise know nothing of what people had asked for; and what was
 * listed before a record went is no reason to make it again.
 */
export function createRecordMemory(program: Program, clock: { monotonic(): number }): RecordMemory {
  /** In the order in which they went. */
  const went = new Map<string, number>();
  const wishes = new Map<string, Readonly<Record<string, string>>>();
  const forgetOld = (now: number) => {
    for (const [key, at] of went) {
      if (now - at < REMEMBERED_MS) return;
      went.delete(key);
    }
  };
  return {
    changed(now, before) {
      if (now !== undefined) {
        const wished = Object.entries(wishes.get(keyOfRecord(now.file, program)) ?? {});
        const { annotations } = now.file.metadata;
        if (wished.every(([name, value]) => annotations?.[name] === value))
          wishes.delete(keyOfRecord(now.file, program));
        return false;
      }
      if (before === undefined || before.file.spec.location === '') return false;
      const key = keyOfRecord(before.file, program);
      const at = clock.monotonic();
      went.delete(key);
      went.set(key, at);
      forgetOld(at);
      const kept = keepingWishes(before.file, recordKeys(program));
      if (Object.keys(kept).length > 0) wishes.set(key, kept);
      return wishes.has(key);
    },
    wentSince: (snapshot, since) => (went.get(keyOf(snapshot)) ?? Number.NEGATIVE_INFINITY) >= since,
    wishesFor: (snapshot) => wishes.get(keyOf(snapshot)) ?? {},
  };
}

/** Nodes have folders of the same path. */
function keyOf({ location, nodeName }: Snapshot): string {
  return `${location.store === 's3' ? S3_NODE : nodeName} ${locationUrl(location)}`;
}

function keyOfRecord(file: ETCDSnapshotFile, program: Program): string {
  return `${isS3Record(file, program) ? S3_NODE : file.spec.nodeName} ${file.spec.location}`;
}
