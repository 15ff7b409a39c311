import { claimProblem, type S3Place } from '../crds/claim.ts';
import { type Program, S3_NODE } from '../crds/etcd-snapshot-file.ts';
import { fromSnapshotFile } from '../crds/mapping.ts';
import { asError, isSnapshotError } from '../errors.ts';
import { parseCreatedAt } from '../snapshot/naming.ts';
import type { ListedEntry, Recall } from '../snapshot/ports.ts';
import { locationUrl, type Snapshot } from '../snapshot/snapshot.ts';
import type { Inventory } from './inventory.ts';
import type { InventoryRecord } from './inventory-plan.ts';
import { adoptLegacyMetadata, type LegacyMetadata } from './legacy-metadata.ts';
import { createWaits } from './new-uploads.ts';
import type { RecordView, S3Ready } from './ports.ts';
import { type PruneParts, pruneStore } from './prune.ts';

export interface S3InventoryParts extends PruneParts {
  readonly program: Program;
  readonly records: RecordView;
  readonly inventory: Inventory;
  /** Base name of the schedule whose retention is kept here; undefined: nothing is pruned. */
  readonly scheduledBase: string | undefined;
  now(): Date;
  /** How much older than a new upload a record must be, so that its object may go for it. */
  readonly apartMs: number;
  /** UID of kube-system. @throws SnapshotError */
  clusterId(signal: AbortSignal): Promise<string>;
  readonly legacyMetadata: LegacyMetadata;
  onSnapshots(count: number): void;
  /** How many are past retention and wait for a new upload. */
  onWaiting(count: number): void;
}

/**
 * Brings the records of S3 into step with the configured folder, and keeps the schedule's retention there. For the leader
 * only: one listing serves the whole cluster. @returns whether anything was written or deleted
 */
export function createS3Inventory(
  parts: S3InventoryParts,
): (view: S3Ready, signal: AbortSignal) => Promise<boolean> {
  /** Objects that no record remembers: of other clusters, of unknown origin, or recorded by newer k3s. */
  const remembered = new Map<string, Snapshot>();
  /** The settings with which they were looked up: others are of another place, in which all may be called the same. */
  let rememberedOf: AbortSignal | undefined;
  const waits = createWaits(parts.apartMs);
  return async (view, signal) => {
    const own = await parts.clusterId(signal);
    const since = parts.inventory.monotonic();
    const recorded = recordedSnapshots(parts, view.place, own);
    if (rememberedOf !== view.outdated) remembered.clear();
    rememberedOf = view.outdated;
    const listed = await view.shared.list(signal, recallFrom(recorded, remembered));
    remembered.clear();
    for (const snapshot of listed) {
      if (recorded.get(snapshot.name)?.etag !== snapshot.etag) remembered.set(snapshot.name, snapshot);
    }
    // An object of unknown origin is shown, since somebody has put it into our folder; only another cluster's is not.
    const ours = listed.filter(({ clusterId }) => clusterId === undefined || clusterId === own);
    parts.onSnapshots(ours.length);
    const locations = new Set(parts.records.keptBy(S3_NODE).map(({ file }) => file.spec.location));
    const isNew = ({ location }: Snapshot) => !locations.has(locationUrl(location));
    const snapshots = await adoptLegacyMetadata(ours, isNew, parts.legacyMetadata, signal);
    const found = {
      snapshots,
      since,
      isGone: async (name: string, inner: AbortSignal) => (await view.shared.stat(name, inner)) === undefined,
      inPlace: (record: InventoryRecord) => isOf(record, view.place),
    };
    const { scheduledBase: base } = parts;
    const { place, retention: keep } = view;
    const after = { since: view.ruledSince, apartMs: parts.apartMs, waits };
    const policy = { keep, keeper: S3_NODE, place, clusterId: own, now: parts.now(), after };
    // One record that cannot be written must not fill the bucket; and nothing is deleted that has no record.
    let failure: Error | undefined;
    let changed = 0;
    try {
      changed += await parts.inventory.reconcile(found, signal);
    } catch (error) {
      if (signal.aborted || isSnapshotError(error, 'aborted')) throw error;
      failure = asError(error);
    }
    if (base !== undefined) {
      changed += await pruneStore(parts, view.shared, snapshots, { ...policy, base }, signal);
      parts.onWaiting(waits.count());
    }
    if (failure !== undefined) throw failure;
    return changed > 0;
  };
}

/** A failed upload has no object; whether it was for this place is told by its settings. */
function isOf({ file }: InventoryRecord, place: S3Place): boolean {
  if (file.spec.location !== '') return claimProblem(file, place) === undefined;
  const { endpoint = '', bucket = '', prefix = '' } = file.spec.s3 ?? {};
  return endpoint === place.endpoint && bucket === place.bucket && prefix === place.prefix;
}

/**
 * What the records say of objects that were looked up once: so a new leader has nothing to look up. What somebody applied
 * was not looked up by us: it may come from another cluster, with all that was written into it there.
 */
function recordedSnapshots(
  parts: S3InventoryParts,
  place: S3Place,
  own: string,
): ReadonlyMap<string, Snapshot> {
  const recorded = new Map<string, Snapshot>();
  for (const record of parts.records.keptBy(S3_NODE)) {
    if (record.applied || !isOf(record, place) || record.file.status?.readyToUse !== true) continue;
    const claimed = fromSnapshotFile(record.file, parts.program);
    const snapshot = { ...claimed, createdAt: parseCreatedAt(claimed.name) ?? claimed.createdAt };
    // The annotation is written for objects of this cluster only.
    if (snapshot.etag !== undefined) recorded.set(snapshot.name, { ...snapshot, clusterId: own });
  }
  return recorded;
}

function recallFrom(recorded: ReadonlyMap<string, Snapshot>, remembered: Map<string, Snapshot>): Recall {
  const recall = ({ name, size, etag }: ListedEntry) => {
    const known = remembered.get(name) ?? recorded.get(name);
    if (etag === undefined || known === undefined) return undefined;
    return known.etag === etag && known.size === size ? known : undefined;
  };
  return Object.assign(recall, {
    lookedUp: (snapshot: Snapshot) => void remembered.set(snapshot.name, snapshot),
  });
}
