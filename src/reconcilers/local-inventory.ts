import { claimProblem, type LocalPlace } from '../crds/claim.ts';
import type { SnapshotFolder } from '../snapshot/ports.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import type { Inventory } from './inventory.ts';
import type { RecordView } from './ports.ts';

export interface LocalInventoryParts {
  readonly nodeName: string;
  readonly folder: SnapshotFolder;
  readonly place: LocalPlace;
  readonly records: RecordView;
  readonly inventory: Inventory;
  /** Metadata by list key that k3s's old ConfigMap still knows; read only when a file without metadata is new. @throws SnapshotError */
  legacyMetadata(signal: AbortSignal): Promise<ReadonlyMap<string, Readonly<Record<string, string>>>>;
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

/** Files that k3s saved while it kept metadata in its ConfigMap only. */
async function adopt(
  parts: LocalInventoryParts,
  listed: readonly Snapshot[],
  signal: AbortSignal,
): Promise<readonly Snapshot[]> {
  const recorded = new Map(
    parts.records.keptBy(parts.nodeName).map(({ file }) => [file.spec.snapshotName, file]),
  );
  const bare = listed.filter(({ name, metadata }) => metadata === undefined && !recorded.has(name));
  const legacy = bare.length === 0 ? undefined : await parts.legacyMetadata(signal);
  return listed.map((snapshot) => {
    if (snapshot.metadata !== undefined) return snapshot;
    const metadata = legacy?.get(`local-${snapshot.name}`) ?? recorded.get(snapshot.name)?.spec.metadata;
    return metadata === undefined ? snapshot : { ...snapshot, metadata };
  });
}
