import { GetObjectCommand } from '@aws-sdk/client-s3';
import { abortError, SnapshotError } from '../errors.ts';
import type { ByteRange } from '../snapshot/ports.ts';
import type { S3Connection } from './s3-client.ts';
import { isS3Error } from './s3-failure.ts';
import { assertBucket, headObject, type ObjectHead } from './s3-list.ts';
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
  const head = await s3.timed(doing, signal, (inner) => findObject(s3, key, doing, inner));
  if (head === undefined) {
    throw new SnapshotError('not-found', doing, {
      why: `there is no such object in bucket ${s3.settings.bucket}`,
      hint: 'List what there is with "etcd-snapshot ls --s3".',
    });
  }
  const start = range?.start ?? 0;
  const end = Math.min(range?.end ?? head.size, head.size);
  return download(s3, { key, etag: head.etag, doing, start, end }, signal);
}

async function findObject(
  s3: S3Connection,
  key: string,
  doing: string,
  signal: AbortSignal,
): Promise<ObjectHead | undefined> {
  const head = await headObject(s3, key, doing, signal);
  if (head === undefined) await assertBucket(s3, doing, signal);
  return head;
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
  const input = {
    Bucket: s3.settings.bucket,
    Key: wanted.key,
    Range: `bytes=${position}-${wanted.end - 1}`,
    ...(wanted.etag === undefined ? {} : { IfMatch: wanted.etag }),
  };
  try {
    const { Body: body } = await s3.timed(wanted.doing, signal, (inner) =>
      readCall(s3, 'GetObject', wanted.doing, inner, (client, options, customerKey) =>
        client.send(new GetObjectCommand({ ...customerKey, ...input }), options),
      ),
    );
    if (isBody(body)) return body;
    throw tooShort(wanted.doing, wanted.end - position);
  } catch (error) {
    if (!isS3Error(error, 'PreconditionFailed')) throw error;
    throw new SnapshotError('conflict', wanted.doing, {
      why: 'the object was replaced while it was read',
      hint: 'Try again.',
      retryable: true,
      cause: error,
    });
  }
}

function isBody(body: unknown): body is Body {
  return typeof body === 'object' && body !== null && Symbol.asyncIterator in body && 'destroy' in body;
}

function tooShort(doing: string, missing: number): SnapshotError {
  return new SnapshotError('unavailable', doing, {
    why: `the answer ended ${missing} bytes too early`,
    retryable: true,
  });
}
