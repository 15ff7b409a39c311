import { isS3Record } from '../crds/claim.ts';
import { type ETCDSnapshotFile, type Program, recordKeys, S3_NODE } from '../crds/etcd-snapshot-file.ts';
import { locationUrl, type Snapshot } from '../snapshot/snapshot.ts';
import type { InventoryRecord } from './inventory-plan.ts';
import { keepingWishes } from './wishes.ts';

/** No listing takes longer. */
const REMEMBERED_MS = 3_600_000;

/** Annotations by which people keep data. */
export type Wishes = Readonly<Record<string, string>>;

/** Where the wishes of records that are gone outlive this process. */
export interface KeptWishes {
  /** As the last process has left them. */
  readonly known: ReadonlyMap<string, Wishes>;
  /** Told of each change, with all that is to be known. */
  keep(all: ReadonlyMap<string, Wishes>): void;
}

/** What is still to be known of records that are gone. */
export interface RecordMemory {
  /** To be told of every change of a record. Returns whether its data are to stay though it is gone. */
  changed(now: InventoryRecord | undefined, before: InventoryRecord | undefined): boolean;
  /** Whether a record of that copy has gone since then, on the clock that does not jump: then the copy may have gone too. */
  wentSince(snapshot: Snapshot, since: number): boolean;
  /** Annotations of its last record that its next one has to bear: a hold, a deletion policy that keeps. */
  wishesFor(snapshot: Snapshot): Wishes;
}

/**
 * Remembers records that go. One that comes again would otherwise know nothing of what people had asked for; and what was
 * listed before a record went is no reason to make it again.
 */
export function createRecordMemory(
  program: Program,
  clock: { monotonic(): number },
  kept: KeptWishes = { known: new Map(), keep: () => {} },
): RecordMemory {
  /** In the order in which they went. */
  const went = new Map<string, number>();
  const wishes = new Map(kept.known);
  /** Nobody here has seen these go: a record of the copy that is there knows better. */
  const inherited = new Set(kept.known.keys());
  const forgetOld = (now: number) => {
    for (const [key, at] of went) {
      if (now - at < REMEMBERED_MS) return;
      went.delete(key);
    }
  };
  return {
    changed(now, before) {
      if (now !== undefined) {
        const key = keyOfRecord(now.file, program);
        const wished = wishes.get(key);
        if (wished === undefined) return false;
        const { annotations } = now.file.metadata;
        const isBorne = Object.entries(wished).every(([name, value]) => annotations?.[name] === value);
        if (!inherited.delete(key) && !isBorne) return false;
        wishes.delete(key);
        kept.keep(wishes);
        return false;
      }
      if (before === undefined || before.file.spec.location === '') return false;
      const key = keyOfRecord(before.file, program);
      const at = clock.monotonic();
      went.delete(key);
      went.set(key, at);
      forgetOld(at);
      const wished = keepingWishes(before.file, recordKeys(program));
      if (Object.keys(wished).length > 0) {
        wishes.set(key, wished);
        inherited.delete(key);
        kept.keep(wishes);
      }
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
