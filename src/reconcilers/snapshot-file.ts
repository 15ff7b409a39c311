import { claimProblem, isS3Record, type LocalPlace, type StorePlace } from '../crds/claim.ts';
import {
  type ETCDSnapshotFile,
  type Program,
  type RecordKeys,
  recordKeys,
} from '../crds/etcd-snapshot-file.ts';
import { asError, isSnapshotError, SnapshotError } from '../errors.ts';
import type { SnapshotFolder, SnapshotStore } from '../snapshot/ports.ts';
import type { DeletionPolicy, RecordEvents, RecordView, RecordWriter, S3View } from './ports.ts';
import type { Reconcile, ReconcileResult } from './reconciler.ts';

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
  /** Whether the cluster has no such node any more. @throws SnapshotError */
  readonly nodeIsGone: (name: string, signal: AbortSignal) => Promise<boolean>;
  /**
   * Why the deletion may be k3s's own doing and not anybody's wish, or undefined when it cannot be. k3s deletes records
   * that its own reconcile does not expect, and knows nothing of our finalizer. @throws SnapshotError
   */
  readonly k3sMayHaveDeleted: (store: 'local' | 's3', signal: AbortSignal) => Promise<string | undefined>;
  readonly onDeleted: (store: 'local' | 's3') => void;
  readonly onDeletionFailed: (store: 'local' | 's3') => void;
}

const DEFINITION_GOES = 'the CustomResourceDefinition is being deleted, and no data follow it';

/** A record that is being released is gone by then, or that has failed and it lives on. */
const RELEASED_SOON_MS = 1_000;
/** Nothing tells a record that waits already when the definition goes, or its node. */
const WAITING_MS = 60_000;

/**
 * One record: while it lives it carries our finalizer; when somebody deletes it, its data go first and then the finalizer.
 * Local records are handled by their node, those of S3 by the leader. May run again at any point: nothing is assumed done.
 */
export function createSnapshotFileReconciler(parts: SnapshotFileParts): Reconcile {
  return async (name, signal) => {
    const file = parts.records.get(name)?.file;
    if (file === undefined) return undefined;
    const s3 = isS3Record(file, parts.program);
    const mine = s3 ? parts.isLeader() : file.spec.nodeName === parts.nodeName;
    if (!mine) return letGoForOthers(parts, file, s3, signal);
    if (file.metadata.deletionTimestamp === undefined) {
      const settled = await parts.writer.ensureFinalizer(file, signal);
      return settled ? undefined : { requeueAfterMs: RELEASED_SOON_MS };
    }
    if (file.metadata.finalizers?.includes(parts.finalizer) !== true) return undefined;
    return cleanUp(parts, file, s3 ? 's3' : 'local', signal);
  };
}

/**
 * A node that has left, or one whose operator is away while the definition goes, cannot lift its finalizers: the leader
 * does. Its disk is out of reach, so the data stay as they are.
 */
async function letGoForOthers(
  parts: SnapshotFileParts,
  file: ETCDSnapshotFile,
  s3: boolean,
  signal: AbortSignal,
): Promise<ReconcileResult | undefined> {
  const waits =
    file.metadata.deletionTimestamp !== undefined &&
    file.metadata.finalizers?.includes(parts.finalizer) === true;
  if (s3 || !waits || !parts.isLeader()) return undefined;
  const { snapshotName, nodeName } = file.spec;
  const said = `Snapshot ${snapshotName} left as it is`;
  if (await parts.definitionIsGoing(signal)) {
    parts.events.emit(file, 'Normal', 'ETCDSnapshotRetained', `${said}: ${DEFINITION_GOES}`);
  } else if (await parts.nodeIsGone(nodeName, signal)) {
    const message = `${said}: node ${nodeName} is not in the cluster`;
    parts.events.emit(file, 'Warning', 'ETCDSnapshotNotDeleted', message);
  } else return { requeueAfterMs: WAITING_MS };
  await parts.writer.liftFinalizer(file, signal);
  return undefined;
}

async function cleanUp(
  parts: SnapshotFileParts,
  file: ETCDSnapshotFile,
  store: 'local' | 's3',
  signal: AbortSignal,
): Promise<ReconcileResult | undefined> {
  const name = file.spec.snapshotName;
  const keys = recordKeys(parts.program);
  if (isHeld(file, keys) && !(await parts.definitionIsGoing(signal))) {
    const message = `Snapshot ${name} is held: record and data stay until annotation ${keys.hold} is removed`;
    parts.events.emit(file, 'Warning', 'ETCDSnapshotHeld', message);
    return { requeueAfterMs: WAITING_MS };
  }
  try {
    const kept =
      (await reasonToKeep(parts, file, store, keys, signal)) ??
      (await deleteData(parts, file, store, signal));
    if (kept !== undefined) {
      const message = `Snapshot ${name} not deleted, its record goes alone: ${kept.why}`;
      parts.events.emit(file, kept.expected ? 'Normal' : 'Warning', kept.reason, message);
      await parts.writer.liftFinalizer(file, signal);
      return undefined;
    }
  } catch (thrown) {
    // Nobody needs to be told that somebody else does it.
    if (signal.aborted || isSnapshotError(thrown, 'aborted')) throw thrown;
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
  parts.onDeleted(store);
  parts.events.emit(file, 'Normal', 'ETCDSnapshotDeleted', `Snapshot ${name} deleted`);
  return undefined;
}

/** Whether somebody has put a hold on it. Every value holds, except `false`. */
export function isHeld(file: ETCDSnapshotFile, keys: RecordKeys): boolean {
  const hold = file.metadata.annotations?.[keys.hold];
  return hold !== undefined && hold.toLowerCase() !== 'false';
}

interface Kept {
  readonly reason: 'ETCDSnapshotRetained' | 'ETCDSnapshotNotDeleted';
  readonly why: string;
  /** Somebody has asked for it, or it is the ordinary course of things. */
  readonly expected: boolean;
}

const retained = (why: string): Kept => ({ reason: 'ETCDSnapshotRetained', why, expected: true });
const refused = (why: string): Kept => ({ reason: 'ETCDSnapshotNotDeleted', why, expected: false });

/** Why the data of a deleted record stay, or undefined when they are to go. */
async function reasonToKeep(
  parts: SnapshotFileParts,
  file: ETCDSnapshotFile,
  store: 'local' | 's3',
  keys: RecordKeys,
  signal: AbortSignal,
): Promise<Kept | undefined> {
  if (await parts.definitionIsGoing(signal)) {
    return retained(DEFINITION_GOES);
  }
  const policy = policyOf(file, keys, parts.deletionPolicy);
  if (policy === undefined) {
    const value = JSON.stringify(file.metadata.annotations?.[keys.deletionPolicy]);
    return refused(`annotation ${keys.deletionPolicy} is ${value}, neither Delete nor Retain`);
  }
  if (policy === 'Retain') return retained('the deletion policy is Retain');
  if (file.spec.location === '') return undefined;
  const k3s = await parts.k3sMayHaveDeleted(store, signal);
  if (k3s !== undefined) return refused(k3s);
  const place = placeOf(parts, store);
  if (place === undefined) return refused('S3 is switched off here');
  const problem = claimProblem(file, place);
  return problem === undefined ? undefined : refused(problem);
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

/** Undefined where there is no such store. @throws SnapshotError when there is one that cannot be used now */
function placeOf(parts: SnapshotFileParts, store: 'local' | 's3'): StorePlace | undefined {
  if (store === 'local') return parts.folderPlace;
  const view = parts.s3();
  if (view.state === 'off') return undefined;
  if (view.state === 'unavailable') throw view.error;
  return view.place;
}

/** Returns why the data stay all the same, when they turn out not to be ours. */
async function deleteData(
  parts: SnapshotFileParts,
  file: ETCDSnapshotFile,
  store: 'local' | 's3',
  signal: AbortSignal,
): Promise<Kept | undefined> {
  // A save that failed before it had a place has a record and nothing else.
  if (file.spec.location === '') return undefined;
  const name = file.spec.snapshotName;
  const view = parts.s3();
  if (store === 's3' && view.state !== 'ready') return refused('S3 was switched off meanwhile');
  const from = store === 's3' && view.state === 'ready' ? view.shared : parts.folder;
  try {
    if (store === 's3') await assertOwn(parts, from, name, signal);
    await from.remove(name, signal);
    return undefined;
  } catch (error) {
    if (!isSnapshotError(error, 'foreign')) throw error;
    return refused(error.why ?? error.message);
  }
}

/** Two clusters may share a folder, and even names: only the object itself tells whose it is. */
async function assertOwn(
  parts: SnapshotFileParts,
  store: SnapshotStore,
  name: string,
  signal: AbortSignal,
): Promise<void> {
  const [object, own] = await Promise.all([store.stat(name, signal), parts.clusterId(signal)]);
  if (object?.clusterId === undefined || object.clusterId === own) return;
  throw new SnapshotError('foreign', `${name} is not a snapshot of this cluster`, {
    why: `the object says that it is of cluster ${object.clusterId}`,
  });
}
