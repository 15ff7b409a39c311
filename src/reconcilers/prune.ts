import { claimProblem, type StorePlace } from '../crds/claim.ts';
import { type ETCDSnapshotFile, type Program, recordKeys } from '../crds/etcd-snapshot-file.ts';
import { toSnapshotFile } from '../crds/mapping.ts';
import { asError, isSnapshotError, SnapshotError } from '../errors.ts';
import { removeNames } from '../snapshot/delete-snapshots.ts';
import type { SnapshotStore } from '../snapshot/ports.ts';
import { confirmPlan } from '../snapshot/prune-snapshots.ts';
import {
  isOfWrongClock,
  isSubject,
  planRetention,
  RECORDED_LAST,
  type RetentionPlan,
  type RetentionPolicy,
  recordedAfterTheNewest,
} from '../snapshot/retention.ts';
import { locationUrl, type Snapshot } from '../snapshot/snapshot.ts';
import type { InventoryRecord } from './inventory-plan.ts';
import { letGo } from './let-go.ts';
import { driven, type NewUpload } from './new-uploads.ts';
import type { RecordEvents, RecordView, RecordWriter } from './ports.ts';
import { isHeld } from './wishes.ts';

export interface PruneParts {
  readonly program: Program;
  readonly records: RecordView;
  readonly writer: RecordWriter;
  readonly events: RecordEvents;
  /** The record as the API server has it now; undefined when it is gone. @throws SnapshotError */
  readonly reread: (name: string, signal: AbortSignal) => Promise<ETCDSnapshotFile | undefined>;
  readonly onDeleted: (store: 'local' | 's3') => void;
  readonly onDeletionFailed: (store: 'local' | 's3') => void;
  /** Told each time whether retention could do its work there. */
  readonly onPruned: (store: 'local' | 's3', error: SnapshotError | undefined) => void;
}

export interface PrunePolicy {
  /** Base name of the schedule; other snapshots are not looked at. */
  readonly base: string;
  /** How many of each node stay; below 1: all. */
  readonly keep: number;
  /** What the label of the records of this place says. */
  readonly keeper: string;
  /** Records of other places say nothing about what is here. */
  readonly place: StorePlace;
  /** Whose objects may be deleted; of no meaning on disk. */
  readonly clusterId?: string;
  readonly now: Date;
  /** Names that the run which prunes has just made. */
  readonly made?: ReadonlySet<string>;
  /** Where others save than the one who prunes: what has to have come, so that anything may go. */
  readonly after?: NewUpload;
}

/** The records of one place by the copy that they are of, which may be several. */
type Recorded = ReadonlyMap<string, readonly InventoryRecord[]>;

/**
 * Deletes what is past the schedule's retention, data first and then the record. Held snapshots stay and do not count.
 * What was listed and recorded only leads there: whatever the decision rests on is looked up anew, and each record is read
 * anew right before its data go. What has no record yet is not deleted either: nobody could have held it.
 * @returns how many went; @throws the first failure, after everything else has been tried
 */
export async function pruneStore(
  parts: PruneParts,
  store: SnapshotStore,
  snapshots: readonly Snapshot[],
  policy: PrunePolicy,
  signal: AbortSignal,
): Promise<number> {
  const told = (error?: SnapshotError) => parts.onPruned(store.kind, error);
  if (policy.keep >= 1 && !parts.records.fresh) {
    told(mayBeOld());
    return 0;
  }
  try {
    const { removed, unseen } = await prune(parts, store, snapshots, policy, signal);
    told(unseen ?? policy.after?.waits.stuck(policy.after.since));
    return removed;
  } catch (thrown) {
    const error = asError(thrown);
    if (signal.aborted || isSnapshotError(error, 'aborted')) throw error;
    told(
      isSnapshotError(error)
        ? error
        : new SnapshotError('io', 'Old snapshots could not be deleted', { cause: error }),
    );
    throw error;
  }
}

/** That nothing goes then must not be silent: a disk that fills up is the end of all snapshots. */
function mayBeOld(): SnapshotError {
  return new SnapshotError('unavailable', 'Nothing is deleted for retention', {
    why: 'the watch of the records is cut off, so that somebody may have put a hold on what would go',
    hint: 'See the part "kubernetes".',
    retryable: true,
  });
}

interface Pruned {
  readonly removed: number;
  /** Why one that stays could not be looked at: it drove nothing out. */
  readonly unseen?: SnapshotError | undefined;
}

async function prune(
  parts: PruneParts,
  store: SnapshotStore,
  snapshots: readonly Snapshot[],
  policy: PrunePolicy,
  signal: AbortSignal,
): Promise<Pruned> {
  const recorded = recordedIn(parts, policy);
  const retention = retentionOf(parts, policy, snapshots, recorded);
  const listed = planRetention(snapshots, retention);
  tellOfWrongClock(parts, listed, policy, recorded);
  const recordTime = (snapshot: Snapshot) => recordedAt(recordsOf(recorded, snapshot));
  const mayGoNow = driven(policy, recordTime);
  const going = mayGoNow(listed);
  policy.after?.waits.seen(listed, going, recordTime);
  // Nothing is asked for what has to wait in any case.
  if (going.length === 0) return { removed: 0 };
  const unseen: SnapshotError[] = [];
  const plan = await confirmPlan(store, listed, retention, (error) => unseen.push(error), signal);

  const doomed = new Map(mayGoNow(plan).map((snapshot) => [snapshot.name, snapshot]));
  const careful = {
    kind: store.kind,
    async remove(name: string, inner: AbortSignal): Promise<boolean> {
      const snapshot = doomed.get(name);
      if (snapshot === undefined || !(await mayGo(parts, store, snapshot, retention, recorded, inner)))
        return false;
      return store.remove(name, inner);
    },
  };
  const { removed, failures } = await removeNames(careful, [...doomed.keys()], signal);
  const errors: Error[] = failures.flatMap(({ error }) => (error.code === 'locked' ? [] : [error]));
  for (const { name, error } of failures) {
    if (error.code === 'aborted') continue;
    if (error.code === 'locked') {
      // As the bucket wants it, and no failure: the first run of retention after that deletes it.
      const [locked] = recordsOf(recorded, doomed.get(name));
      tellOfLock(parts, locked, `Snapshot ${name} is past retention and stays`, error);
      continue;
    }
    parts.onDeletionFailed(store.kind);
    const [record] = recordsOf(recorded, doomed.get(name));
    const message = `Snapshot ${name} is past retention and was not deleted: ${error.message}`;
    if (record !== undefined) parts.events.emit(record.file, 'Warning', 'ETCDSnapshotDeleteFailed', message);
  }
  for (const name of removed) {
    parts.onDeleted(store.kind);
    for (const record of recordsOf(recorded, doomed.get(name))) {
      try {
        await letGo(parts, record, signal);
      } catch (error) {
        errors.push(asError(error));
      }
    }
  }
  signal.throwIfAborted();
  if (errors[0] !== undefined) throw errors[0];
  return { removed: removed.length, unseen: unseen[0] };
}

function recordedIn({ records }: PruneParts, { keeper, place }: PrunePolicy): Recorded {
  const here = records.keptBy(keeper).filter(({ file }) => claimProblem(file, place) === undefined);
  return Map.groupBy(here, ({ file }) => file.spec.location);
}

function recordsOf(recorded: Recorded, snapshot: Snapshot | undefined): readonly InventoryRecord[] {
  return snapshot === undefined ? [] : (recorded.get(locationUrl(snapshot.location)) ?? []);
}

function retentionOf(
  { program }: PruneParts,
  policy: PrunePolicy,
  snapshots: readonly Snapshot[],
  recorded: Recorded,
): RetentionPolicy {
  const { base, keep, clusterId, now, made } = policy;
  const keys = recordKeys(program);
  const retention: RetentionPolicy = {
    base,
    keep,
    now,
    ...(clusterId === undefined ? {} : { clusterId }),
    held: (snapshot) => recordsOf(recorded, snapshot).some(({ file }) => isHeld(file, keys)),
  };
  const latest = recordedAfterTheNewest(snapshots, retention, (one) => recordedAt(recordsOf(recorded, one)));
  return {
    ...retention,
    spared(snapshot) {
      if (made?.has(snapshot.name)) return 'it has just been made';
      return latest.has(snapshot.name) ? RECORDED_LAST : undefined;
    },
  };
}

/** When the first of its records was made, in milliseconds; NaN when none says so. */
function recordedAt(records: readonly InventoryRecord[]): number {
  const times = records.map(({ file }) => Date.parse(file.metadata.creationTimestamp ?? ''));
  return times.length === 0 ? Number.NaN : Math.min(...times);
}

function tellOfWrongClock(
  { events }: PruneParts,
  plan: RetentionPlan,
  { now }: PrunePolicy,
  recorded: Recorded,
): void {
  for (const decision of plan.keep) {
    if (!isOfWrongClock(decision, now)) continue;
    const { snapshot } = decision;
    const message = `Snapshot ${snapshot.name} is of a time that has not come yet, so no retention counts it: check the clock of ${snapshot.nodeName}`;
    const [record] = recordsOf(recorded, snapshot);
    if (record !== undefined) events.emit(record.file, 'Warning', 'ETCDSnapshotClock', message);
  }
}

/** Asked right before the data go: the object for whose it is, the API server for what people have asked for meanwhile. */
async function mayGo(
  parts: PruneParts,
  store: SnapshotStore,
  listed: Snapshot,
  retention: RetentionPolicy,
  recorded: Recorded,
  signal: AbortSignal,
): Promise<boolean> {
  const now = await store.stat(listed.name, signal);
  if (now === undefined) return false;
  const known = recordsOf(recorded, listed);
  if (!isSubject(now, retention)) {
    const [record] = store.kind === 's3' ? known : [];
    const whose = now.clusterId === undefined ? 'no cluster' : `cluster ${now.clusterId}`;
    const message = `Snapshot ${listed.name} is past retention and stays: the object is of ${whose}`;
    if (record !== undefined) parts.events.emit(record.file, 'Warning', 'ETCDSnapshotNotDeleted', message);
    return false;
  }
  const location = locationUrl(listed.location);
  const keys = recordKeys(parts.program);
  const names = new Set(known.map(({ file }) => file.metadata.name));
  names.add(toSnapshotFile(now, parts.program).metadata.name);
  const records = await Promise.all([...names].map((name) => parts.reread(name, signal)));
  const current = records
    .filter((file) => file !== undefined)
    .filter(({ spec }) => spec.location === location);
  // One that somebody deletes is the finalizer's business, which knows whether the data are to stay.
  return (
    current.length > 0 &&
    !current.some((file) => file.metadata.deletionTimestamp !== undefined || isHeld(file, keys))
  );
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
