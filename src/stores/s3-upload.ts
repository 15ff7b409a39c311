import { type CompletedPart, PutObjectCommand, UploadPartCommand } from '@aws-sdk/client-s3';
import { abortError, asError, orAborted, SnapshotError } from '../errors.ts';
import type { SnapshotUpload } from '../snapshot/ports.ts';
import { Md5Thread, md5Of } from './md5.ts';
import type { S3Connection } from './s3-client.ts';
import { makeWhereNone } from './s3-exclusive.ts';
import { isS3Error } from './s3-failure.ts';
import { noteUpload, type OpenNote } from './s3-journal.ts';
import { noAnswer, type ObjectHead } from './s3-list.ts';
import { beginUpload, completeUpload, dropUpload, etagOfParts } from './s3-multipart.ts';
import { creationOf, customerKeyOf } from './s3-object-parameters.ts';
import type { OperationClock } from './s3-operation-clock.ts';
import { assertOurs, type Sent, withMark } from './s3-ownership.ts';
import { type Part, PartReader } from './s3-parts.ts';
import { refusesDamage } from './s3-payload-check.ts';
import { assertTaken, md5InETag } from './s3-proof.ts';

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

interface SummedPart extends Part {
  /** Undefined where the SHA-256 of the signature proves the part. */
  readonly md5: Promise<Buffer> | undefined;
}

export interface Uploaded extends Sent {
  /** What was there already: it may be the object of an earlier try whose answer got lost. */
  readonly there: ObjectHead | undefined;
  readonly warnings: readonly Error[];
}

/**
 * Uploads bytes that may still be growing. Up to one part goes in one request, more in several; either way the object
 * comes to be only after the bytes are proven, and only where there is none of that name. Upon failure the parts are dropped,
 * or left to `sweepUploads` with a note.
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
  const Metadata = withMark(await orAborted(plan.metadata(), signal));
  plan.time.start();
  // Here, and not in a thread: nobody needs this one any more to keep up with etcd.
  const md5 = md5Of(body);
  const { key: Key, contentType: ContentType, doing } = plan;
  const input = {
    ...creationOf(s3.settings),
    Bucket: s3.settings.bucket,
    Key,
    Body: body,
    ContentLength: body.length,
    ContentMD5: md5.toString('base64'),
    ContentType,
    Metadata,
  };
  const making = { operation: 'PutObject', key: Key, doing };
  const { answer, there } = await makeWhereNone(s3, making, signal, (client, options, guard) =>
    client.send(new PutObjectCommand({ ...input, ...guard }), options),
  );
  upload.onProgress?.(body.length);
  const ownEtag = md5.toString('hex');
  // Where it is a sum, ours is what it must be.
  const toldEtag = answer === undefined || md5InETag(answer) === undefined ? answer?.ETag : ownEtag;
  const sent = { size: body.length, metadata: Metadata, ownEtag, toldEtag };
  assertOurs(sent, there, doing);
  return { ...sent, there, warnings: [] };
}

async function putParts(
  s3: S3Connection,
  upload: SnapshotUpload,
  plan: UploadPlan,
  bytes: { readonly reader: PartReader; readonly first: Part; readonly second: Part },
  signal: AbortSignal,
): Promise<Uploaded> {
  // The proof may fail while parts are still being sent and nobody waits for it.
  void Promise.allSettled([upload.bytes.proven]);
  const Metadata = withMark(await orAborted(plan.metadata(), signal));
  const warnings: Error[] = [];
  const note = await beginNote(s3, upload, plan, warnings);
  let uploadId: string | undefined;
  let mayHaveOthers = false;
  const onDoubt = () => {
    mayHaveOthers = true;
  };
  try {
    plan.time.start();
    uploadId = await beginUpload(s3, { ...plan, metadata: Metadata }, onDoubt, signal);
    await note
      ?.begun(uploadId, mayHaveOthers)
      .catch((error: unknown) => warnings.push(noteFailure(plan, error)));
    const isChecked = await refusesDamage(s3, { ...plan, uploadId }, signal);
    const parts = await sendParts(s3, upload, plan, { ...bytes, uploadId, isChecked }, signal);
    plan.time.pause();
    const size = await provenSize(upload, plan, bytes.reader.position, signal);
    plan.time.start();
    const { answer, there } = await completeUpload(s3, plan, uploadId, parts, signal);
    const sent = { size, metadata: Metadata, ownEtag: etagOfParts(parts), toldEtag: answer?.etag };
    assertOurs(sent, there, plan.doing);
    // The object is whole by now: what cannot be tidied up does not make it worse, and the note stays for the next sweep.
    await tidyUp(s3, plan.key, { uploadId, mayHaveOthers, isMade: there === undefined }, note, signal).catch(
      (error: unknown) => warnings.push(asError(error)),
    );
    return { ...sent, there, warnings };
  } catch (error) {
    if (uploadId !== undefined || mayHaveOthers) {
      const cleanup = AbortSignal.timeout(CLEANUP_MS);
      // Best effort: what it cannot drop, the note leaves to the next save.
      await Promise.allSettled([
        tidyUp(s3, plan.key, { uploadId, mayHaveOthers, isMade: false }, note, cleanup),
      ]);
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
  return noteUpload(plan.journalDir, s3.settings, upload).catch((error: unknown) => {
    warnings.push(noteFailure(plan, error));
    return undefined;
  });
}

function partNotTaken(s3: S3Connection, { doing }: UploadPlan): SnapshotError {
  return noAnswer(doing, `what ${s3.settings.endpoint} answered does not say that it took a part`, true);
}

function noteFailure(plan: UploadPlan, cause: unknown): SnapshotError {
  return new SnapshotError('io', `Cannot note the upload in ${plan.journalDir ?? ''}`, {
    why: 'if this process is killed now, the next save finds its parts only after a day',
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
    /** Whether the server holds each part against its signed SHA-256. */
    readonly isChecked: boolean;
  },
  signal: AbortSignal,
): Promise<readonly CompletedPart[]> {
  const failed = new AbortController();
  const inner = AbortSignal.any([signal, failed.signal]);
  const running = new Set<Promise<void>>();
  const sent: CompletedPart[] = [];
  let taken = 0;
  let needsSum = !parts.isChecked;
  await using thread = new Md5Thread();
  /** Begun as soon as a part is there: by the time its turn has come, the sum is done. */
  const summed = (part: Part): SummedPart => {
    if (!needsSum) return { ...part, md5: undefined };
    const md5 = thread.sum(part.body);
    void Promise.allSettled([md5]);
    return { ...part, md5 };
  };
  const put = ({ number: PartNumber, body: Body }: Part, md5: Buffer | undefined) => {
    const target = { Bucket: s3.settings.bucket, Key: plan.key, UploadId: parts.uploadId, PartNumber };
    const sum = md5 === undefined ? {} : { ContentMD5: md5.toString('base64') };
    const input = { ...customerKeyOf(s3.settings), ...target, Body, ContentLength: Body.length, ...sum };
    return s3.call('UploadPart', plan.doing, inner, async (client, options) => {
      const answer = await client.send(new UploadPartCommand(input), options);
      // Without it the part cannot be named at the end; whoever answers so may be no S3 server.
      if (answer.ETag === undefined || answer.ETag === '') throw partNotTaken(s3, plan);
      if (md5 !== undefined) assertTaken(answer, md5, plan.doing);
      return answer;
    });
  };
  const send = async (part: SummedPart): Promise<void> => {
    const { number: PartNumber, body } = part;
    try {
      const md5 = await part.md5;
      const { ETag, ChecksumCRC32 } = await put(part, md5).catch((error: unknown) => {
        // Amazon wants an MD5 sum of each part where objects are locked, whatever else is sent.
        if (md5 !== undefined || !isS3Error(error, 'InvalidRequest')) throw error;
        needsSum = true;
        return put(part, md5Of(body));
      });
      // What a part was sent with, the end must name again.
      sent[PartNumber - 1] = { PartNumber, ETag, ...(ChecksumCRC32 === undefined ? {} : { ChecksumCRC32 }) };
      taken += body.length;
      plan.time.step();
      upload.onProgress?.(taken);
    } catch (error) {
      failed.abort(error);
    } finally {
      part.release();
    }
  };
  const room = async () => {
    while (running.size >= plan.concurrency) await Promise.race(running);
  };
  const nextPart = async () => {
    plan.time.pause();
    const part = await parts.reader.next(inner);
    plan.time.start();
    return part === undefined ? undefined : summed(part);
  };
  try {
    const [first, second] = [summed(parts.first), summed(parts.second)];
    for (let next: SummedPart | undefined = first; next !== undefined; ) {
      await room();
      if (inner.aborted) throw abortError(inner);
      const task: Promise<void> = send(next).finally(() => running.delete(task));
      running.add(task);
      // Only what is still to be summed up needs to lie in memory before its turn.
      if (!needsSum) await room();
      next = next === first ? second : await nextPart();
    }
  } catch (error) {
    failed.abort(error);
  }
  await Promise.all(running);
  if (failed.signal.aborted) throw asError(failed.signal.reason);
  if (signal.aborted) throw abortError(signal);
  return sent;
}

/**
 * Drops the parts, unless the object was made of them, and removes the note when nothing is left for certain. What was begun
 * without an answer has no parts; nobody can tell it from another cluster's, so it is left to `sweepUploads`, with the note.
 */
async function tidyUp(
  s3: S3Connection,
  key: string,
  begun: { readonly uploadId: string | undefined; readonly mayHaveOthers: boolean; readonly isMade: boolean },
  note: OpenNote | undefined,
  signal: AbortSignal,
): Promise<void> {
  const { uploadId, mayHaveOthers, isMade } = begun;
  const isGone = isMade || uploadId === undefined || (await dropUpload(s3, key, uploadId, signal)).isGone;
  if (isGone && !mayHaveOthers) await note?.remove();
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
