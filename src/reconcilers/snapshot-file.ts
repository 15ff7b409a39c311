import { claimProblem, isS3Record, type LocalPlace, type StorePlace } from '../crds/claim.ts';
import {
  type ETCDSnapshotFile,
  type Program,
  type RecordKeys,
  recordKeys,
} from '../crds/etcd-snapshot-file.ts';
import { fromSnapshotFile } from '../crds/mapping.ts';
import { asError, isSnapshotError, SnapshotError } from '../errors.ts';
import type { SnapshotFolder, SnapshotStore } from '../snapshot/ports.ts';
import type { Timers } from '../timers.ts';
import { lookAfter } from './living-record.ts';
import type { DeletionPolicy, RecordEvents, RecordView, RecordWriter, S3View } from './ports.ts';
import type { Reconcile, ReconcileResult } from './reconciler.ts';
import { isHeld } from './wishes.ts';

export interface SnapshotFileParts {
  readonly program: Program;
  readonly nodeName: string;
  /** The finalizer by which a record waits for us: ours, or the seed's where there is no k3s to lift it. */
  readonly finalizer: string;
  readonly records: RecordView;
  readonly writer: RecordWriter;
  readonly events: RecordEvents;
  readonly folder: SnapshotFolder;
  readonly folderPlace: LocalPlace;
  readonly s3: () => S3View;
  /** Of the whole installation; a record's annotation decides for itself. */
  readonly deletionPolicy: DeletionPolicy;
  /** Whether this process looks after what the nodes share, at this moment. */
  readonly isLeader: () => boolean;
  /** UID of kube-system. @throws SnapshotError */
  readonly clusterId: (signal: AbortSignal) => Promise<string>;
  /** Whether the CustomResourceDefinition itself is being deleted, or gone: then no data must follow. @throws SnapshotError */
  readonly definitionIsGoing: (signal: AbortSignal) => Promise<boolean>;
  /** Whether the cluster has no such node any more; never, where members of etcd need not be nodes. @throws SnapshotError */
  readonly nodeIsGone: (name: string, signal: AbortSignal) => Promise<boolean>;
  /**
   * Why the deletion may be k3s's own doing and not anybody's wish, or undefined when it cannot be. k3s deletes records
   * that its own reconcile does not expect, and knows nothing of our finalizer. @throws SnapshotError
   */
  readonly k3sMayHaveDeleted: (file: ETCDSnapshotFile, signal: AbortSignal) => Promise<string | undefined>;
  /** The record as the API server has it now; undefined when it is gone. @throws SnapshotError */
  readonly reread: (name: string, signal: AbortSignal) => Promise<ETCDSnapshotFile | undefined>;
  readonly clock: Pick<Timers, 'monotonic'>;
  readonly onDeleted: (store: 'local' | 's3') => void;
  readonly onDeletionFailed: (store: 'local' | 's3') => void;
}

const DEFINITION_GOES = 'the CustomResourceDefinition is being deleted, and no data follow it';

/** Nothing tells a record that waits already when the definition goes, or its node. */
const WAITING_MS = 60_000;

/**
 * One record: while it lives it carries our finalizer; when somebody deletes it, its data go first and then the finalizer.
 * Local records are handled by their node, those of S3 by the leader. May run again at any point: nothing is assumed done.
 */
export function createSnapshotFileReconciler(parts: SnapshotFileParts): Reconcile {
  /** Since when deleted records of other nodes are seen to wait, by their names. */
  const waiting = new Map<string, number>();
  return async (name, signal) => {
    const record = parts.records.get(name);
    const file = record?.file;
    if (file?.metadata.deletionTimestamp === undefined) waiting.delete(name);
    if (record === undefined || file === undefined) return undefined;
    const s3 = isS3Record(file, parts.program);
    const mine = s3 ? parts.isLeader() : file.spec.nodeName === parts.nodeName;
    if (!mine) return letGoForOthers(parts, file, waiting, signal);
    if (file.metadata.deletionTimestamp === undefined) return lookAfter(parts, record, signal);
    if (!waitsForUs(parts, file)) return undefined;
    return cleanUp(parts, file, s3 ? 's3' : 'local', signal);
  };
}

function waitsForUs({ finalizer }: SnapshotFileParts, { metadata }: ETCDSnapshotFile): boolean {
  return metadata.deletionTimestamp !== undefined && metadata.finalizers?.includes(finalizer) === true;
}

/**
 * A node that has left, or one whose operator is away while the definition goes, cannot lift its finalizers: the leader
 * does. Its disk is out of reach, so the data stay as they are.
 */
async function letGoForOthers(
  parts: SnapshotFileParts,
  file: ETCDSnapshotFile,
  waiting: Map<string, number>,
  signal: AbortSignal,
): Promise<ReconcileResult | undefined> {
  if (isS3Record(file, parts.program) || !waitsForUs(parts, file) || !parts.isLeader()) return undefined;
  const { snapshotName, nodeName } = file.spec;
  const said = `Snapshot ${snapshotName} left as it is`;
  if (await parts.definitionIsGoing(signal)) {
    parts.events.emit(file, 'Normal', 'ETCDSnapshotRetained', `${said}: ${DEFINITION_GOES}`);
  } else if (await parts.nodeIsGone(nodeName, signal)) {
    const message = `${said}: node ${nodeName} is not in the cluster`;
    parts.events.emit(file, 'Warning', 'ETCDSnapshotNotDeleted', message);
  } else {
    tellOfWaiting(parts, file, waiting);
    return { requeueAfterMs: WAITING_MS };
  }
  await parts.writer.liftFinalizer(file, signal);
  return undefined;
}

/** Its owner is quick when it is there; one that is held tells so itself. */
function tellOfWaiting(parts: SnapshotFileParts, file: ETCDSnapshotFile, waiting: Map<string, number>): void {
  const { name } = file.metadata;
  const now = parts.clock.monotonic();
  const since = waiting.get(name) ?? now;
  waiting.set(name, since);
  if (now - since < WAITING_MS || isHeld(file, recordKeys(parts.program))) return;
  const { snapshotName, nodeName } = file.spec;
  parts.events.emit(
    file,
    'Warning',
    'ETCDSnapshotDeleteFailed',
    `Snapshot ${snapshotName} not deleted yet: the operator on node ${nodeName} does not answer. Start it; or, if that node never comes back, remove finalizer ${parts.finalizer} from the record, and its data stay`,
  );
  parts.onDeletionFailed('local');
}

async function cleanUp(
  parts: SnapshotFileParts,
  seen: ETCDSnapshotFile,
  store: 'local' | 's3',
  signal: AbortSignal,
): Promise<ReconcileResult | undefined> {
  // What is destroyed is decided on what is, not on what the watch has told so far: somebody may have put a hold on it.
  const file = await parts.reread(seen.metadata.name, signal);
  if (file === undefined || !waitsForUs(parts, file) || file.metadata.uid !== seen.metadata.uid)
    return undefined;
  const name = file.spec.snapshotName;
  const keys = recordKeys(parts.program);
  if (isHeld(file, keys) && !(await parts.definitionIsGoing(signal))) {
    const message = `Snapshot ${name} is held: record and data stay until annotation ${keys.hold} is removed`;
    parts.events.emit(file, 'Warning', 'ETCDSnapshotHeld', message);
    return { requeueAfterMs: WAITING_MS };
  }
  let outcome: Kept | 'deleted' | 'nothing there';
  try {
    const target = await targetOf(parts, file, store, keys, signal);
    outcome = 'reason' in target ? target : await deleteData(parts, file, target, signal);
    if (typeof outcome === 'object') {
      const kept = outcome;
      const message = `Snapshot ${name} not deleted, its record goes alone: ${kept.why}`;
      parts.events.emit(file, kept.expected ? 'Normal' : 'Warning', kept.reason, message);
      await parts.writer.liftFinalizer(file, signal);
      return undefined;
    }
  } catch (thrown) {
    // Nobody needs to be told that somebody else does it.
    if (signal.aborted || isSnapshotError(thrown, 'aborted')) throw thrown;
    if (isSnapshotError(thrown, 'locked')) {
      const message = `Snapshot ${name} not deleted yet, record and data stay: ${thrown.why ?? 'it is locked'}`;
      parts.events.emit(file, 'Warning', 'ETCDSnapshotLocked', message);
      return { requeueAfterMs: WAITING_MS };
    }
    const error = asError(thrown);
    const why = isSnapshotError(error) && error.why !== undefined ? `: ${error.why}` : '';
    parts.events.emit(
      file,
      'Warning',
      'ETCDSnapshotDeleteFailed',
      `Snapshot ${name} not deleted yet: ${error.message}${why}`,
    );
    parts.onDeletionFailed(store);
    throw error;
  }
  await parts.writer.liftFinalizer(file, signal);
  if (outcome === 'deleted') parts.onDeleted(store);
  const message =
    outcome === 'deleted'
      ? `Snapshot ${name} deleted`
      : `Record of snapshot ${name} removed: there was no copy to delete`;
  parts.events.emit(file, 'Normal', 'ETCDSnapshotDeleted', message);
  return undefined;
}

interface Kept {
  readonly reason: 'ETCDSnapshotRetained' | 'ETCDSnapshotNotDeleted';
  readonly why: string;
  /** Somebody has asked for it, or it is the ordinary course of things. */
  readonly expected: boolean;
}

const retained = (why: string): Kept => ({ reason: 'ETCDSnapshotRetained', why, expected: true });
const refused = (why: string): Kept => ({ reason: 'ETCDSnapshotNotDeleted', why, expected: false });

/** What is to go with a record: nothing, or what that store has under its name. */
type Target = { readonly store: SnapshotStore; readonly shared: boolean } | { readonly store: undefined };

/** What is to be deleted with a record, or why its data stay. */
async function targetOf(
  parts: SnapshotFileParts,
  file: ETCDSnapshotFile,
  store: 'local' | 's3',
  keys: RecordKeys,
  signal: AbortSignal,
): Promise<Target | Kept> {
  if (await parts.definitionIsGoing(signal)) {
    return retained(DEFINITION_GOES);
  }
  const policy = policyOf(file, keys, parts.deletionPolicy);
  if (policy === undefined) {
    const value = JSON.stringify(file.metadata.annotations?.[keys.deletionPolicy]);
    return refused(`annotation ${keys.deletionPolicy} is ${value}, neither Delete nor Retain`);
  }
  if (policy === 'Retain') return retained('the deletion policy is Retain');
  // A save that failed before it had a place has a record and nothing else.
  if (file.spec.location === '') return { store: undefined };
  const k3s = await parts.k3sMayHaveDeleted(file, signal);
  if (k3s !== undefined) return refused(k3s);
  // Settings may change at every await: what is checked against one view is deleted through the same.
  const view = store === 's3' ? parts.s3() : undefined;
  if (view?.state === 'unavailable') throw view.error;
  if (view?.state === 'off') return refused('S3 is switched off here');
  const place = view?.place ?? parts.folderPlace;
  const problem = claimProblem(file, place);
  if (problem !== undefined) return refused(problem);
  const other = sameCopy(parts, file, place);
  if (other !== undefined) {
    return refused(`record ${other.metadata.name} is of the same copy; the data go when that one is deleted`);
  }
  return view === undefined ? { store: parts.folder, shared: false } : { store: view.shared, shared: true };
}

/** Another record, which nobody deletes, of the copy that this one is of: newer k3s and pipelines have names of their own. */
function sameCopy(
  { records }: SnapshotFileParts,
  { metadata, spec }: ETCDSnapshotFile,
  place: StorePlace,
): ETCDSnapshotFile | undefined {
  for (const { file } of records.at(spec.location)) {
    if (file.metadata.deletionTimestamp !== undefined) continue;
    if (place.store === 'local' && file.spec.nodeName !== spec.nodeName) continue;
    if (file.metadata.name !== metadata.name && claimProblem(file, place) === undefined) return file;
  }
  return undefined;
}

function policyOf(
  file: ETCDSnapshotFile,
  keys: RecordKeys,
  installed: DeletionPolicy,
): DeletionPolicy | undefined {
  const own = file.metadata.annotations?.[keys.deletionPolicy]?.toLowerCase();
  if (own === undefined) return installed;
  if (own === 'delete') return 'Delete';
  return own === 'retain' ? 'Retain' : undefined;
}

/** Returns what became of the data, or why they stay all the same when they turn out not to be ours. */
async function deleteData(
  parts: SnapshotFileParts,
  file: ETCDSnapshotFile,
  target: Target,
  signal: AbortSignal,
): Promise<Kept | 'deleted' | 'nothing there'> {
  if (target.store === undefined) return 'nothing there';
  const name = file.spec.snapshotName;
  try {
    if (target.shared) await assertOwn(parts, target.store, file, signal);
    return (await target.store.remove(name, signal)) ? 'deleted' : 'nothing there';
  } catch (error) {
    if (!isSnapshotError(error, 'foreign')) throw error;
    return refused(error.why ?? error.message);
  }
}

/**
 * Two clusters may share a folder, and even names: only the object itself tells whose it is. Where it does not, it may go with the
 * record of a copy, but not with that of an upload that failed.
 */
async function assertOwn(
  parts: SnapshotFileParts,
  store: SnapshotStore,
  file: ETCDSnapshotFile,
  signal: AbortSignal,
): Promise<void> {
  const { name, size, failure } = fromSnapshotFile(file, parts.program);
  const [object, own] = await Promise.all([store.stat(name, signal), parts.clusterId(signal)]);
  if (object === undefined || object.clusterId === own) return;
  const { clusterId } = object;
  if (clusterId === undefined && (failure === undefined || size > 0)) return;
  throw new SnapshotError('foreign', `${name} is not a snapshot of this cluster`, {
    why:
      clusterId === undefined
        ? 'its upload failed, and the object of that name does not say of which cluster it is'
        : `the object says that it is of cluster ${clusterId}`,
  });
}
