import { isSnapshotError } from '../errors.ts';
import { type InventoryRecord, MISSING } from './inventory-plan.ts';
import type { PruneParts } from './prune.ts';

type LetGoParts = Pick<PruneParts, 'reread' | 'writer' | 'events'>;

/** Lets the record of a snapshot go that retention has deleted. @throws SnapshotError */
export async function letGo(parts: LetGoParts, record: InventoryRecord, signal: AbortSignal): Promise<void> {
  // Whoever applied it would apply it again.
  if (record.applied) return parts.writer.mark(record, MISSING, signal);
  if (!(await release(parts, record, signal))) return;
  const message = `Snapshot ${record.file.spec.snapshotName} deleted`;
  parts.events.emit(record.file, 'Normal', 'ETCDSnapshotDeleted', message);
}

/** Whatever has been written to it since: its data are gone. */
async function release(
  { reread, writer }: LetGoParts,
  record: InventoryRecord,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    return await writer.release(record, signal);
  } catch (error) {
    if (!isSnapshotError(error, 'conflict')) throw error;
  }
  const file = await reread(record.file.metadata.name, signal);
  if (file === undefined || file.metadata.uid !== record.file.metadata.uid) return false;
  return writer.release({ ...record, file }, signal);
}
