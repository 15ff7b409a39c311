import { claimProblem, isS3Record } from '../crds/claim.ts';
import type { ETCDSnapshotFile } from '../crds/etcd-snapshot-file.ts';
import type { InventoryRecord } from './inventory-plan.ts';
import type { ReconcileResult } from './reconciler.ts';
import type { SnapshotFileParts } from './snapshot-file.ts';

/** A record that is being released is gone by then, or that has failed and it lives on. */
const RELEASED_SOON_MS = 1_000;

type LivingRecordParts = Pick<
  SnapshotFileParts,
  'program' | 'finalizer' | 'folderPlace' | 's3' | 'writer' | 'events'
>;

/**
 * A record that lives gets our finalizer. One that claims what is not of our place would wait for us in vain: people are
 * told, and nothing is done with it.
 */
export async function lookAfter(
  parts: LivingRecordParts,
  { file, applied }: InventoryRecord,
  signal: AbortSignal,
): Promise<ReconcileResult | undefined> {
  const problem = strangeClaim(parts, file);
  if (problem === undefined) {
    const settled = await parts.writer.ensureFinalizer(file, signal);
    return settled ? undefined : { requeueAfterMs: RELEASED_SOON_MS };
  }
  // Of a k3s with another folder or bucket there may be thousands.
  if (!applied) return undefined;
  const message = `Snapshot ${file.spec.snapshotName} is not one of this place, and nothing is deleted with its record: ${problem}`;
  parts.events.emit(file, 'Warning', 'ETCDSnapshotForeign', message);
  return undefined;
}

/** What had our finalizer was of a place of ours once, and what cannot be judged may be of it. */
function strangeClaim(parts: LivingRecordParts, file: ETCDSnapshotFile): string | undefined {
  const { metadata, spec } = file;
  if (spec.location === '' || metadata.finalizers?.includes(parts.finalizer)) return undefined;
  if (!isS3Record(file, parts.program)) return claimProblem(file, parts.folderPlace);
  const view = parts.s3();
  return view.state === 'ready' ? claimProblem(file, view.place) : undefined;
}
