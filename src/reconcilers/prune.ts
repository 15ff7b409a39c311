import { type Program, recordKeys } from '../crds/etcd-snapshot-file.ts';
import { asError, type SnapshotError } from '../errors.ts';
import { removeNames } from '../snapshot/delete-snapshots.ts';
import type { SnapshotStore } from '../snapshot/ports.ts';
import { planRetention } from '../snapshot/retention.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import type { InventoryRecord } from './inventory-plan.ts';
import type { RecordEvents, RecordView, RecordWriter } from './ports.ts';
import { isHeld } from './snapshot-file.ts';

export interface PruneParts {
  readonly program: Program;
  readonly records: RecordView;
  readonly writer: RecordWriter;
  readonly events: RecordEvents;
  readonly onDeleted: (store: 'local' | 's3') => void;
  readonly onDeletionFailed: (store: 'local' | 's3') => void;
}

export interface PrunePolicy {
  /** Base name of the schedule; other snapshots are not looked at. */
  readonly base: string;
  /** How many of each node stay; below 1: all. */
  readonly keep: number;
  /** What the label of the records of this place says. */
  readonly keeper: string;
  /** Whose objects may be deleted; of no meaning on disk. */
  readonly clusterId?: string;
}

/**
 * Deletes what is past the schedule's retention, data first and then the record. Held snapshots stay and do not count.
 * Nothing is deleted before the records are known: they say what is held.
 * @returns how many went; @throws the first failure, after everything else has been tried
 */
export async function pruneStore(
  parts: PruneParts,
  store: SnapshotStore,
  snapshots: readonly Snapshot[],
  policy: PrunePolicy,
  signal: AbortSignal,
): Promise<number> {
  if (policy.keep < 1 || !parts.records.synced) return 0;
  const keys = recordKeys(parts.program);
  const recordOf = new Map<string, InventoryRecord>();
  for (const record of parts.records.keptBy(policy.keeper))
    recordOf.set(record.file.spec.snapshotName, record);
  const held = (snapshot: Snapshot): boolean => {
    const record = recordOf.get(snapshot.name);
    return record !== undefined && isHeld(record.file, keys);
  };
  const plan = planRetention(snapshots, { ...policy, held });
  const names = plan.delete.map(({ snapshot }) => snapshot.name);
  const { removed, failures } = await removeNames(store, names, signal);
  const errors: Error[] = failures.flatMap(({ error }) => (error.code === 'locked' ? [] : [error]));
  for (const { name, error } of failures) {
    if (error.code === 'aborted') continue;
    if (error.code === 'locked') {
      // As the bucket wants it, and no failure: the first run of retention after that deletes it.
      tellOfLock(parts, recordOf.get(name), `Snapshot ${name} is past retention and stays`, error);
      continue;
    }
    parts.onDeletionFailed(store.kind);
    const message = `Snapshot ${name} is past retention and was not deleted: ${error.message}`;
    const record = recordOf.get(name);
    if (record !== undefined) parts.events.emit(record.file, 'Warning', 'ETCDSnapshotDeleteFailed', message);
  }
  for (const name of removed) {
    parts.onDeleted(store.kind);
    const record = recordOf.get(name);
    if (record === undefined) continue;
    try {
      const released = await parts.writer.release(record, signal);
      if (released)
        parts.events.emit(record.file, 'Normal', 'ETCDSnapshotDeleted', `Snapshot ${name} deleted`);
    } catch (error) {
      errors.push(asError(error));
    }
  }
  signal.throwIfAborted();
  if (errors[0] !== undefined) throw errors[0];
  return removed.length;
}

/** Retention counts the schedule's snapshots only, so only a new one of them can be one too many. */
export function mayBeOneTooMany({ file }: InventoryRecord, base: string): boolean {
  return file.status?.readyToUse === true && file.spec.snapshotName.startsWith(`${base}-`);
}

/** Says on the record until when S3 keeps a snapshot that is to go. */
function tellOfLock(
  { events }: PruneParts,
  record: InventoryRecord | undefined,
  what: string,
  { why = 'it is locked' }: SnapshotError,
): void {
  if (record !== undefined) events.emit(record.file, 'Normal', 'ETCDSnapshotLocked', `${what}: ${why}`);
}
