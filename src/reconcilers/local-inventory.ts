import { claimProblem, type LocalPlace } from '../crds/claim.ts';
import type { SnapshotFolder } from '../snapshot/ports.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import type { Inventory } from './inventory.ts';
import { adoptLegacyMetadata, type LegacyMetadata } from './legacy-metadata.ts';
import type { RecordView } from './ports.ts';

export interface LocalInventoryParts {
  readonly nodeName: string;
  readonly folder: SnapshotFolder;
  readonly place: LocalPlace;
  readonly records: RecordView;
  readonly inventory: Inventory;
  readonly legacyMetadata: LegacyMetadata;
  onSnapshots(count: number): void;
}

/** Brings the records of this node's disk into step with its snapshot folder. @returns whether anything was written */
export function createLocalInventory(parts: LocalInventoryParts): (signal: AbortSignal) => Promise<boolean> {
  return async (signal) => {
    const since = parts.inventory.monotonic();
    const listed = await parts.folder.list(signal);
    parts.onSnapshots(listed.length);
    const snapshots = await adopt(parts, listed, signal);
    const written = await parts.inventory.reconcile(
      {
        snapshots,
        since,
        isGone: async (name, inner) => (await parts.folder.stat(name, inner)) === undefined,
        inPlace: ({ file }) => file.spec.location === '' || claimProblem(file, parts.place) === undefined,
      },
      signal,
    );
    return written > 0;
  };
}

/** What is known of files that say nothing themselves. */
async function adopt(
  parts: LocalInventoryParts,
  listed: readonly Snapshot[],
  signal: AbortSignal,
): Promise<readonly Snapshot[]> {
  const recorded = new Map(
    parts.records.keptBy(parts.nodeName).map(({ file }) => [file.spec.snapshotName, file]),
  );
  const isNew = ({ name }: Snapshot) => !recorded.has(name);
  const adopted = await adoptLegacyMetadata(listed, isNew, parts.legacyMetadata, signal);
  return adopted.map((snapshot) => {
    const metadata = snapshot.metadata ?? recorded.get(snapshot.name)?.spec.metadata;
    return metadata === undefined ? snapshot : { ...snapshot, metadata };
  });
}
