import { asError, isSnapshotError, SnapshotError } from '../errors.ts';
import { IntegrityCheck } from './integrity.ts';
import { interruptedSave } from './interrupted-save.ts';
import { memberComplaints } from './member-complaints.ts';
import { buildSnapshotName, snapshotTime, uncompressedName } from './naming.ts';
import type {
  Clock,
  NewSnapshot,
  SnapshotDraft,
  SnapshotFolder,
  SnapshotRecorder,
  SnapshotSource,
  SnapshotStore,
  SnapshotStream,
  StoredSnapshot,
} from './ports.ts';
import type { S3Location, Snapshot, SnapshotFacts } from './snapshot.ts';

export interface SaveProgress {
  readonly store: 'local' | 's3';
  /** Bytes of the snapshot that the store has taken so far; for disk, counted before compression. */
  readonly bytes: number;
  /** Best guess of the bytes to come in all. */
  readonly total: number;
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
  readonly tokenHash: () => Promise<string | undefined>;
  readonly compress: Compressor | undefined;
  readonly clock: Clock;
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
 * Takes one snapshot: etcd → proof → disk, with the upload following the growing file, then the records.
 * The folder is locked for the time of it, and leftovers of dead saves of this node are removed first.
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

  await using lock = await parts.folder.lock(signal);
  void lock;
  const warnings: Error[] = [];
  const facts = gatherFacts(parts, warnings, signal);
  await parts.folder.sweep(signal);
  warnings.push(...(await refuseUnfit(parts.source, signal)));

  const failed = (location: Snapshot['location'], error: Error): Snapshot => ({
    ...identity,
    size: 0,
    location,
    failure: { time: createdAt, message: describe(error) },
  });
  const records: Snapshot[] = [];
  const failures: SnapshotError[] = [];
  try {
    const { local, upload } = await streamToDisk(parts, identity, facts, onProgress, signal);
    if (local instanceof Error) {
      failures.push(asSnapshotError(local));
      records.push(failed({ store: 'local', path: '' }, local));
    } else {
      warnings.push(...local.warnings);
      records.push(local.snapshot);
    }
    const remote = await upload;
    if (signal.aborted && remote.error !== undefined) throw interruptedSave(records, 'upload', signal);
    if (remote.stored !== undefined) {
      warnings.push(...remote.stored.warnings);
      records.push(remote.stored.snapshot);
    } else if (remote.error !== undefined && parts.remote !== undefined) {
      failures.push(remote.error);
      const location = parts.remote.location(remote.opened ? name : '');
      if (location !== undefined) records.push(failed(location, remote.error));
    }
    warnings.push(...remote.warnings);
  } catch (error) {
    const failure = asError(error);
    if (!signal.aborted) await publish(parts, [failed({ store: 'local', path: '' }, failure)], signal);
    throw failure;
  }
  const unpublished = await publish(parts, records, signal);
  if (signal.aborted && unpublished.length > 0) throw interruptedSave(records, 'records', signal);
  warnings.push(...unpublished);
  return { created: records.filter((record) => record.failure === undefined), failures, warnings };
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

async function gatherFacts(parts: SaveParts, warnings: Error[], signal: AbortSignal): Promise<SnapshotFacts> {
  const ofCluster = parts.recorder?.facts(signal) ?? Promise.resolve({});
  try {
    const tokenHash = await parts.tokenHash();
    return { ...(await ofCluster), ...(tokenHash === undefined ? {} : { tokenHash }) };
  } catch (error) {
    warnings.push(asError(error));
    return await ofCluster;
  }
}

interface UploadOutcome {
  readonly stored?: StoredSnapshot;
  readonly error?: SnapshotError;
  /** Whether the store could be opened at all. */
  readonly opened: boolean;
  readonly warnings: readonly Error[];
}

async function streamToDisk(
  parts: SaveParts,
  identity: Omit<NewSnapshot, 'expectedSize'>,
  facts: Promise<SnapshotFacts>,
  onProgress: (progress: SaveProgress) => void,
  signal: AbortSignal,
): Promise<{ local: StoredSnapshot | Error; upload: Promise<UploadOutcome> }> {
  const work = new AbortController();
  const inner = AbortSignal.any([signal, work.signal]);
  const stream = await parts.source.open(inner);
  const expectedSize = parts.compress?.maxSize(stream.size) ?? stream.size;
  const draft = await parts.folder.create({ ...identity, expectedSize }).catch((error: unknown) => {
    work.abort(error);
    throw error;
  });
  const upload = startUpload(parts, identity, draft, facts, onProgress, signal);
  try {
    const checked = proveWhileReading(stream, onProgress);
    const bytes =
      parts.compress?.zip(
        checked,
        { name: uncompressedName(identity.name), mtime: identity.createdAt, expectedSize: stream.size },
        inner,
      ) ?? checked;
    await pour(bytes, draft);
    draft.prove();
    const local = await draft.commit(await facts);
    return { local, upload: disposing(upload, draft) };
  } catch (error) {
    work.abort(error);
    await draft.discard(asError(error));
    await upload;
    await draft[Symbol.asyncDispose]();
    // The disk may fail when the bytes are proven and already safe on S3: then that copy counts.
    if ((await upload).stored === undefined) throw error;
    return { local: asError(error), upload };
  }
}

/** The upload reads the draft even after it has its name. */
async function disposing(upload: Promise<UploadOutcome>, draft: AsyncDisposable): Promise<UploadOutcome> {
  await using _disposed = draft;
  return await upload;
}

/** Passes the bytes on and throws at the end, before the consumer sees one, unless they are a whole snapshot. */
async function* proveWhileReading(
  stream: SnapshotStream,
  onProgress: (progress: SaveProgress) => void,
): AsyncGenerator<readonly Uint8Array[]> {
  const check = new IntegrityCheck();
  for await (const batch of stream) {
    check.update(batch);
    yield batch;
    onProgress({ store: 'local', bytes: check.bytes, total: stream.size });
  }
  check.finish(stream.size);
}

/** Writes one batch while the next one is received and hashed. */
async function pour(bytes: AsyncIterable<readonly Uint8Array[]>, draft: SnapshotDraft): Promise<void> {
  const batches = bytes[Symbol.asyncIterator]();
  let current = await batches.next();
  while (current.done !== true) {
    const [next] = await Promise.all([batches.next(), draft.write(current.value)]);
    current = next;
  }
}

/** Never rejects: the copy on disk does not depend on it. */
async function startUpload(
  parts: SaveParts,
  identity: Omit<NewSnapshot, 'expectedSize'>,
  bytes: SnapshotDraft,
  facts: Promise<SnapshotFacts>,
  onProgress: (progress: SaveProgress) => void,
  signal: AbortSignal,
): Promise<UploadOutcome> {
  if (parts.remote === undefined) return { opened: false, warnings: [] };
  const warnings: Error[] = [];
  let opened = false;
  try {
    const store = await parts.remote.open(signal);
    opened = true;
    await store.sweep(signal).catch((error: unknown) => warnings.push(asError(error)));
    const stored = await store.put(
      {
        ...identity,
        bytes,
        facts,
        onProgress: (done) => onProgress({ store: 's3', bytes: done, total: bytes.expectedSize }),
      },
      signal,
    );
    return { stored, opened, warnings };
  } catch (error) {
    return { error: asSnapshotError(error), opened, warnings };
  }
}

/** Publishes what became of the save; the snapshot stands whatever becomes of the records. */
async function publish(
  parts: SaveParts,
  records: readonly Snapshot[],
  signal: AbortSignal,
): Promise<Error[]> {
  const { recorder } = parts;
  if (recorder === undefined) return [];
  const outcomes = await Promise.allSettled(records.map((record) => recorder.record(record, signal)));
  return outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [asError(outcome.reason)] : []));
}

function asSnapshotError(error: unknown): SnapshotError {
  if (isSnapshotError(error)) return error;
  return new SnapshotError('io', 'The copy could not be finished', {
    cause: asError(error),
    retryable: true,
  });
}

/** One line for the status of a record. */
function describe(error: Error): string {
  return isSnapshotError(error) && error.why !== undefined ? `${error.message}: ${error.why}` : error.message;
}
