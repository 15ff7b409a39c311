import { toListKey } from '../crds/mapping.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';

/**
 * Metadata by list key that k3s's old ConfigMap still knows; read only when a snapshot without metadata is new.
 * @throws SnapshotError
 */
export type LegacyMetadata = (
  signal: AbortSignal,
) => Promise<ReadonlyMap<string, Readonly<Record<string, string>>>>;

/** Gives what k3s saved, while it kept metadata in its ConfigMap only, the metadata from there. */
export async function adoptLegacyMetadata(
  snapshots: readonly Snapshot[],
  isNew: (snapshot: Snapshot) => boolean,
  legacyMetadata: LegacyMetadata,
  signal: AbortSignal,
): Promise<readonly Snapshot[]> {
  const isBare = (snapshot: Snapshot) => snapshot.metadata === undefined && isNew(snapshot);
  if (!snapshots.some(isBare)) return snapshots;
  const legacy = await legacyMetadata(signal);
  return snapshots.map((snapshot) => {
    const metadata = isBare(snapshot) ? legacy.get(toListKey(snapshot)) : undefined;
    return metadata === undefined ? snapshot : { ...snapshot, metadata };
  });
}
