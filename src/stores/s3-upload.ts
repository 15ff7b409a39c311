import { type CompletedPart, PutObjectCommand, UploadPartCommand } from '@aws-sdk/client-s3';
import { abortError, asError, SnapshotError } from '../errors.ts';
import type { SnapshotUpload } from '../snapshot/ports.ts';
import type { OperationClock, S3Connection } from './s3-client.ts';
import { noteUpload, type OpenNote } from './s3-journal.ts';
import { abortUpload, abortUploadsOf, beginUpload, completeUpload } from './s3-multipart.ts';
import { type Part, PartReader } from './s3-parts.ts';

/** Time for dropping the parts of a failed upload: an interrupted program must end within two seconds. */
const CLEANUP_MS = 1_500;
export interface UploadPlan {
  readonly key: string;
  /** What could not be done when it fails. */
  readonly doing: string;
  readonly contentType: string;
  /** User metadata; needs the facts of the snapshot, which may take a while. */
  readonly metadata: () => Promise<Record<string, string>>;
  readonly partSize: number;
  readonly concurrency: number;
  /** Where to note the upload while it runs; undefined: nowhere. */
  readonly journalDir: string | undefined;
  readonly time: OperationClock;
}

export interface Uploaded {
  readonly size: number;
  readonly etag: string | undefined;
  readonly warnings: readonly Error[];
}

/**
 * Uploads bytes that may still be growing. Up to one part goes in one request, more in several; either way the object
 * comes to be only after the bytes are proven. Upon failure the parts are dropped, or left to `sweepUploads` with a note.
 */
export async function uploadGrowing(
  s3: S3Connection,
  upload: SnapshotUpload,
  plan: UploadPlan,
  signal: AbortSignal,
): Promise<Uploaded> {
  const reader = new PartReader(upload.bytes, plan.partSize, plan.concurrency + 1);
  const first = await reader.next(signal);
  const second = first === undefined ? undefined : await reader.next(signal);
  if (first === undefined || second === undefined) {
    return putWhole(s3, upload, plan, first, signal);
  }
  return putParts(s3, upload, plan, { reader, first, second }, signal);
}

async function putWhole(
  s3: S3Connection,
  upload: SnapshotUpload,
  plan: UploadPlan,
  part: Part | undefined,
  signal: AbortSignal,
): Promise<Uploaded> {
  const body = part?.body ?? Buffer.alloc(0);
  await provenSize(upload, plan, body.length, signal);
  const Metadata = await orAborted(plan.metadata(), signal);
  plan.time.begin();
  const { key: Key, contentType: ContentType } = plan;
  const input = {
    Bucket: s3.settings.bucket,
    Key,
    Body: body,
    ContentLength: body.length,
    ContentType,
    Metadata,
  };
  const { ETag } = await s3.call('PutObject', plan.doing, signal, (client, options) =>
    client.send(new PutObjectCommand(input), options),
  );
  upload.onProgress?.(body.length);
  return { size: body.length, etag: ETag, warnings: [] };
}

async function putParts(
  s3: S3Connection,
  upload: SnapshotUpload,
  plan: UploadPlan,
  parts: { readonly reader: PartReader; readonly first: Part; readonly second: Part },
  signal: AbortSignal,
): Promise<Uploaded> {
  const Metadata = await orAborted(plan.metadata(), signal);
  const warnings: Error[] = [];
  const note = await beginNote(s3, upload, plan, warnings);
  let uploadId: string | undefined;
  let doubt = false;
  const onDoubt = () => {
    doubt = true;
  };
  try {
    plan.time.touch();
    void Promise.allSettled([upload.bytes.proven]).then(() => plan.time.begin());
    uploadId = await beginUpload(s3, { ...plan, metadata: Metadata }, onDoubt, signal);
    await note?.begun(uploadId).catch((error: unknown) => warnings.push(noteFailure(plan, error)));
    const sent = await sendParts(s3, upload, plan, { ...parts, uploadId }, signal);
    plan.time.pause();
    const size = await provenSize(upload, plan, parts.reader.position, signal);
    const etag = await completeUpload(s3, plan, uploadId, sent, signal);
    // The object is whole by now: what cannot be tidied up does not make it worse, and the note stays for the next sweep.
    await (doubt ? abortUploadsOf(s3, plan.key, signal) : Promise.resolve())
      .then(() => note?.remove())
      .catch((error: unknown) => warnings.push(asError(error)));
    return { size, etag, warnings };
  } catch (error) {
    if (uploadId !== undefined || doubt) {
      await dropParts(s3, plan.key, uploadId, note);
    } else {
      await Promise.allSettled([note?.remove()]);
    }
    throw error;
  }
}

async function beginNote(
  s3: S3Connection,
  upload: SnapshotUpload,
  plan: UploadPlan,
  warnings: Error[],
): Promise<OpenNote | undefined> {
  if (plan.journalDir === undefined) return undefined;
  return noteUpload(plan.journalDir, s3.settings, upload.name).catch((error: unknown) => {
    warnings.push(noteFailure(plan, error));
    return undefined;
  });
}

function noteFailure(plan: UploadPlan, cause: unknown): SnapshotError {
  return new SnapshotError('io', `Cannot note the upload in ${plan.journalDir ?? ''}`, {
    why: 'if this process is killed now, the next save finds its parts only after an hour',
    cause,
  });
}

async function sendParts(
  s3: S3Connection,
  upload: SnapshotUpload,
  plan: UploadPlan,
  parts: {
    readonly reader: PartReader;
    readonly first: Part;
    readonly second: Part;
    readonly uploadId: string;
  },
  signal: AbortSignal,
): Promise<readonly CompletedPart[]> {
  const failed = new AbortController();
  const inner = AbortSignal.any([signal, failed.signal]);
  const running = new Set<Promise<void>>();
  const sent: CompletedPart[] = [];
  let taken = 0;
  const send = async (part: Part): Promise<void> => {
    const { number: PartNumber, body: Body } = part;
    const target = { Bucket: s3.settings.bucket, Key: plan.key, UploadId: parts.uploadId };
    const input = { ...target, PartNumber, Body, ContentLength: Body.length };
    try {
      const { ETag } = await s3.call('UploadPart', plan.doing, inner, (client, options) =>
        client.send(new UploadPartCommand(input), options),
      );
      sent[PartNumber - 1] = { PartNumber, ETag };
      taken += Body.length;
      upload.onProgress?.(taken);
    } catch (error) {
      failed.abort(error);
    } finally {
      part.release();
    }
  };
  const nextPart = async () => {
    plan.time.pause();
    const part = await parts.reader.next(inner);
    plan.time.touch();
    return part;
  };
  try {
    let next: Part | undefined = parts.first;
    while (next !== undefined) {
      while (running.size >= plan.concurrency) await Promise.race(running);
      if (inner.aborted) throw abortError(inner);
      const task: Promise<void> = send(next).finally(() => running.delete(task));
      running.add(task);
      next = next === parts.first ? parts.second : await nextPart();
    }
  } catch (error) {
    failed.abort(error);
  }
  await Promise.all(running);
  if (failed.signal.aborted) throw asError(failed.signal.reason);
  if (signal.aborted) throw abortError(signal);
  return sent;
}

/** Best effort with a deadline of its own: what it cannot drop, the note leaves to the next save. */
async function dropParts(
  s3: S3Connection,
  key: string,
  uploadId: string | undefined,
  note: OpenNote | undefined,
): Promise<void> {
  const signal = AbortSignal.timeout(CLEANUP_MS);
  const drop = async () => {
    if (uploadId !== undefined) await abortUpload(s3, key, uploadId, signal);
    await abortUploadsOf(s3, key, signal);
    // One that was begun without an answer may come to be after it was looked for.
    if (uploadId !== undefined) await note?.remove();
  };
  await Promise.allSettled([drop()]);
}

/** @throws SnapshotError `corrupt` when the proven size is not what was read */
async function provenSize(
  upload: SnapshotUpload,
  plan: UploadPlan,
  read: number,
  signal: AbortSignal,
): Promise<number> {
  const size = await orAborted(upload.bytes.proven, signal);
  if (size === read && size > 0) return size;
  throw new SnapshotError('corrupt', plan.doing, {
    why: `the snapshot has ${size} bytes, and ${read} could be read`,
    retryable: true,
  });
}

/** The outcome of a promise that knows nothing of signals, or the end of waiting for it. */
async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(abortError(signal));
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
