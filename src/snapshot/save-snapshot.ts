import { asError, isSnapshotError, orAborted, SnapshotError } from '../errors.ts';
import { memberComplaints } from './member-complaints.ts';
import { buildSnapshotName, snapshotTime } from './naming.ts';
import type {
  Clock,
  SnapshotDraft,
  SnapshotFolder,
  SnapshotRecorder,
  SnapshotSource,
  SnapshotStore,
  SnapshotStream,
  StoredSnapshot,
} from './ports.ts';
import { SaveLedger, type SnapshotIdentity } from './save-ledger.ts';
import type { S3Location, Snapshot, SnapshotFacts } from './snapshot.ts';
import { streamToDraft } from './stream-to-draft.ts';
import { uploadBeside } from './upload-beside.ts';

export interface SaveProgress {
  readonly store: 'local' | 's3';
  /** Bytes of the snapshot that the store has taken so far; for disk, counted before compression. */
  readonly bytes: number;
  /** The bytes to come in all; undefined where only the end will tell, as of an upload that is compressed on the way. */
  readonly total: number | undefined;
}

export interface SaveResult {
  /** Every copy that is whole, proven and durable. */
  readonly created: readonly Snapshot[];
  /** What was asked for and not done; the copies in `created` stand all the same. */
  readonly failures: readonly SnapshotError[];
  /** What did not work and does not make the snapshot worse: records, events, sidecars. */
  readonly warnings: readonly Error[];
}

/** A store that is opened only when a save begins, so that its trouble is one failure of the save and not its end. */
export interface RemoteStore {
  open(signal: AbortSignal): Promise<SnapshotStore>;
  /** Where a snapshot of that name would be, for the records of failures; undefined while nobody knows which store it is. */
  location(name: string): S3Location | undefined;
}

export interface SaveParts {
  readonly source: SnapshotSource;
  readonly folder: SnapshotFolder;
  readonly remote: RemoteStore | undefined;
  readonly recorder: SnapshotRecorder | undefined;
  /** First 12 hex digits of the SHA-256 of the server token's password; undefined where there is no token. */
  readonly tokenHash: (signal: AbortSignal) => Promise<string | undefined>;
  readonly compress: Compressor | undefined;
  readonly clock: Clock;
  /** Told of each copy as soon as it stands: others may still take long, or never come to be. */
  readonly onStored?: (snapshot: Snapshot) => void;
}

/** Turns the bytes of one snapshot into a `.zip` with one entry, in one pass. */
export interface Compressor {
  zip(
    input: AsyncIterable<readonly Uint8Array[]>,
    entry: { readonly name: string; readonly mtime: Date; readonly expectedSize: number },
    signal: AbortSignal,
  ): AsyncIterable<readonly Uint8Array[]>;
  /** Upper bound of the size of the zip, for that many bytes of snapshot. */
  maxSize(bytes: number): number;
}

export interface SaveRequest {
  readonly base: string;
  readonly nodeName: string;
}

/**
 * Takes one snapshot: etcd → proof → disk, with the upload following the growing file, and a record of each copy as soon as it
 * stands. The folder is locked for the time of it, and leftovers of dead saves of this node are removed.
 * @throws SnapshotError when there is no copy anywhere (nothing half-made stays), or `aborted`
 */
export async function saveSnapshot(
  parts: SaveParts,
  request: SaveRequest,
  onProgress: (progress: SaveProgress) => void,
  signal: AbortSignal,
): Promise<SaveResult> {
  const createdAt = snapshotTime(parts.clock.now());
  const compressed = parts.compress !== undefined;
  const name = buildSnapshotName({ base: request.base, nodeName: request.nodeName, createdAt, compressed });
  const identity = { name, nodeName: request.nodeName, createdAt, compressed };
  const ledger = new SaveLedger(identity, parts.recorder, parts.onStored ?? (() => {}), signal);
  try {
    await using lock = await parts.folder.lock(signal);
    void lock;
    await takeCopies({ parts, identity, ledger, onProgress, signal });
    return await ledger.result();
  } catch (error) {
    throw await ledger.givenUp(asError(error));
  }
}

interface Save {
  readonly parts: SaveParts;
  readonly identity: SnapshotIdentity;
  readonly ledger: SaveLedger;
  readonly onProgress: (progress: SaveProgress) => void;
  readonly signal: AbortSignal;
}

/** @throws SnapshotError when there is no copy */
async function takeCopies(save: Save): Promise<void> {
  const { parts, identity, ledger, signal } = save;
  const facts = gatherFacts(parts, ledger, signal);
  await ledger.attempt(() => parts.folder.sweep(signal));
  ledger.warn(...(await refuseUnfit(parts.source, signal)));
  const lost = new AbortController();
  try {
    const stream = await parts.source.open(AbortSignal.any([signal, lost.signal]));
    const expectedSize = parts.compress?.maxSize(stream.size) ?? stream.size;
    const isFollowed = parts.remote !== undefined;
    const draft = await parts.folder.create({ ...identity, expectedSize, isFollowed });
    try {
      await keepCopies(save, stream, draft, facts, lost);
    } finally {
      await ledger.attempt(() => draft[Symbol.asyncDispose]());
    }
  } catch (error) {
    lost.abort(error);
    throw error;
  }
}

/** @param lost aborted as soon as there is no hope of a whole snapshot @throws SnapshotError when there is no copy */
async function keepCopies(
  { parts, identity, ledger, onProgress, signal }: Save,
  stream: SnapshotStream,
  draft: SnapshotDraft,
  facts: Promise<SnapshotFacts>,
  lost: AbortController,
): Promise<void> {
  const whileHope = AbortSignal.any([signal, lost.signal]);
  const tell = (bytes: number) =>
    onProgress({ store: 's3', bytes, total: parts.compress === undefined ? draft.expectedSize : undefined });
  const upload = uploadBeside(
    parts.remote,
    { ...identity, bytes: draft, facts, onProgress: tell },
    whileHope,
  );
  let isProven = false;
  const keepFile = async (): Promise<StoredSnapshot> => {
    await streamToDraft(stream, draft, { ...identity, compress: parts.compress }, onProgress, whileHope);
    isProven = true;
    return draft.commit(await orAborted(facts, signal), signal);
  };
  const local = await keepFile().catch(asError);
  if (local instanceof Error) {
    // What can never be whole is of no use to anybody; what is proven may still become a copy on S3.
    if (!isProven) lost.abort(local);
    await ledger.attempt(() => draft.discard(local));
  } else {
    ledger.stored(local);
  }
  const remote = await upload;
  if (local instanceof Error) {
    if (!isProven) throw local;
    ledger.failed({ store: 'local', path: '' }, asSnapshotError(local));
  }
  if (remote.stored !== undefined) {
    ledger.stored(remote.stored);
    // Only now: an S3 that is away would be waited for twice, and tidying up must not come before the backup.
    await ledger.attempt(() => remote.sweep(signal));
    return;
  }
  if (remote.error !== undefined) ledger.failed(remote.location, asSnapshotError(remote.error));
  if (local instanceof Error) throw local;
}

/** Returns what is wrong with the member but does not matter that much. @throws SnapshotError `learner`, or why it does not answer */
async function refuseUnfit(source: SnapshotSource, signal: AbortSignal): Promise<readonly SnapshotError[]> {
  const status = await source.status(signal);
  if (!status.isLearner) return memberComplaints(status);
  throw new SnapshotError(
    'learner',
    `etcd member ${status.memberId} at ${status.endpoint} cannot take a snapshot`,
    {
      why: 'it is a learner: it does not vote yet and may lag behind',
      hint: 'Take the snapshot on a voting member, or promote this one first.',
      retryable: true,
    },
  );
}

async function gatherFacts(
  parts: SaveParts,
  ledger: SaveLedger,
  signal: AbortSignal,
): Promise<SnapshotFacts> {
  const ofCluster = parts.recorder?.facts(signal) ?? Promise.resolve({});
  try {
    const tokenHash = await parts.tokenHash(signal);
    return { ...(await ofCluster), ...(tokenHash === undefined ? {} : { tokenHash }) };
  } catch (error) {
    ledger.warn(asError(error));
    return await ofCluster;
  }
}

function asSnapshotError(error: Error): SnapshotError {
  if (isSnapshotError(error)) return error;
  return new SnapshotError('io', 'The copy could not be finished', { cause: error, retryable: true });
}
