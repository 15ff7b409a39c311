import { GetObjectCommand, type S3Client } from '@aws-sdk/client-s3';
import { abortError, SnapshotError } from '../errors.ts';
import type { ByteRange } from '../snapshot/ports.ts';
import type { S3CallOptions, S3Connection } from './s3-client.ts';
import { isS3Error } from './s3-failure.ts';
import { assertBucket, headObject, noAnswer, type ObjectHead } from './s3-list.ts';
import type { CustomerKey } from './s3-object-parameters.ts';
import { readCall } from './s3-read.ts';

interface Body extends AsyncIterable<Uint8Array> {
  destroy(error?: Error): unknown;
}

/**
 * The bytes of an object, or of a part of it. A connection that breaks off in the middle is taken up again where it
 * ended, and only on the very same object (`If-Match`). Each
 * request has the time of an operation to be answered; after that its bytes only have to keep coming.
 */
export async function openObject(
  s3: S3Connection,
  key: string,
  doing: string,
  signal: AbortSignal,
  range: ByteRange | undefined,
): Promise<AsyncIterable<Uint8Array>> {
  const head = await existingObject(s3, key, doing, signal);
  const start = range?.start ?? 0;
  const end = Math.min(range?.end ?? head.size, head.size);
  return download(s3, { key, etag: head.etag, doing, start, end }, signal);
}

/** What the object says of itself. @throws SnapshotError `not-found` */
export async function existingObject(
  s3: S3Connection,
  key: string,
  doing: string,
  signal: AbortSignal,
): Promise<ObjectHead> {
  return s3.timed(doing, signal, async (inner) => {
    const head = await headObject(s3, key, doing, inner);
    if (head !== undefined) return head;
    await assertBucket(s3, doing, inner);
    throw new SnapshotError('not-found', doing, {
      why: `there is no such object in bucket ${s3.settings.bucket}`,
      hint: 'List what there is with "etcd-snapshot ls --s3".',
    });
  });
}

interface Wanted {
  readonly key: string;
  readonly etag: string | undefined;
  readonly doing: string;
  readonly start: number;
  readonly end: number;
}

async function* download(s3: S3Connection, wanted: Wanted, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const { doing, end } = wanted;
  let position = wanted.start;
  let attemptsLeft = 3;
  while (position < end) {
    const body = await request(s3, wanted, position, signal);
    const onAbort = () => body.destroy(abortError(signal));
    signal.addEventListener('abort', onAbort, { once: true });
    const before = position;
    try {
      for await (const chunk of body) {
        if (signal.aborted) throw abortError(signal);
        yield chunk;
        position += chunk.length;
      }
      if (position < end) throw tooShort(doing, end - position);
    } catch (error) {
      if (signal.aborted) throw abortError(signal);
      if (position > before) attemptsLeft = 3;
      attemptsLeft -= 1;
      if (attemptsLeft <= 0) throw s3.translate(error, 'GetObject', doing);
    } finally {
      signal.removeEventListener('abort', onAbort);
      body.destroy();
    }
  }
}

async function request(
  s3: S3Connection,
  wanted: Wanted,
  position: number,
  signal: AbortSignal,
): Promise<Body> {
  const range = { start: position, end: wanted.end };
  return s3.timed(wanted.doing, signal, (inner) =>
    readCall(s3, 'GetObject', wanted.doing, inner, (client, options, customerKey) =>
      requestRange(s3, { ...wanted, range }, client, options, customerKey),
    ).catch(ifReplaced(wanted.doing)),
  );
}

/** Asks for a part of one and the same object. @returns its body, of just that part */
export async function requestRange(
  s3: S3Connection,
  wanted: Pick<Wanted, 'key' | 'etag' | 'doing'> & { readonly range: ByteRange },
  client: S3Client,
  options: S3CallOptions,
  customerKey: CustomerKey,
): Promise<Body> {
  const { key, etag, doing } = wanted;
  const { start, end } = wanted.range;
  const { Body: body, ContentRange } = await client.send(
    new GetObjectCommand({
      ...customerKey,
      Bucket: s3.settings.bucket,
      Key: key,
      Range: `bytes=${start}-${end - 1}`,
      ...(etag === undefined ? {} : { IfMatch: etag }),
    }),
    options,
  );
  if (!isBody(body)) throw tooShort(doing, end - start);
  if (ContentRange?.startsWith(`bytes ${start}-${end - 1}/`) === true) return body;
  body.destroy();
  const got = ContentRange ?? 'all bytes';
  const why = `${s3.settings.endpoint} answered with ${got} where bytes ${start}-${end - 1} were asked for`;
  throw noAnswer(doing, why);
}

/** The same error, or what it means when the object is not the one that it was. */
export function ifReplaced(doing: string): (error: unknown) => never {
  return (error) => {
    if (!isS3Error(error, 'PreconditionFailed')) throw error;
    throw new SnapshotError('conflict', doing, {
      why: 'the object was replaced while it was read',
      hint: 'Try again.',
      retryable: true,
      cause: error,
    });
  };
}

function isBody(body: unknown): body is Body {
  return typeof body === 'object' && body !== null && Symbol.asyncIterator in body && 'destroy' in body;
}

export function tooShort(doing: string, missing: number): SnapshotError {
  return new SnapshotError('unavailable', doing, {
    why: `the answer ended ${missing} bytes too early`,
    retryable: true,
  });
}
