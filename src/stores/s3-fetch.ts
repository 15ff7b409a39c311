import { createHash } from 'node:crypto';
import { dirname } from 'node:path';
import pMap from 'p-map';
import { abortError, asError, isSnapshotError } from '../errors.ts';
import type { ByteRange, DownloadedSnapshot, SnapshotDownload } from '../snapshot/ports.ts';
import { diskError } from './disk-errors.ts';
import { PartialFile, removePartials } from './partial-file.ts';
import type { S3Connection } from './s3-client.ts';
import { existingObject, ifReplaced, requestRange, tooShort } from './s3-download.ts';
import {
  compareSums,
  damaged,
  lookAtFile,
  ownHash,
  partSizeOf,
  rangesOf,
  type Source,
  strangeEtag,
} from './s3-fetch-proof.ts';
import { snapshotKey } from './s3-keys.ts';
import { noAnswer, type ObjectHead } from './s3-list.ts';
import type { OperationClock } from './s3-operation-clock.ts';
import { readCall } from './s3-read.ts';

/** Ranges in flight. */
const AT_ONCE = 4;
const RANGE_BYTES = 16 * 1024 * 1024;
/** Parts between these sizes are fetched as they are, so that one sum does for both. */
const LEAST_RANGE_BYTES = 1024 * 1024;
const MOST_RANGE_BYTES = 64 * 1024 * 1024;
/** Bytes per write. */
const BATCH_BYTES = 1024 * 1024;

export type Fetched = Pick<DownloadedSnapshot, 'verified' | 'resumed' | 'warnings'> & {
  readonly head: ObjectHead;
};

/**
 * Fetches an object into a file: see `SnapshotDownloader`. Each request has the time of an operation to be answered;
 * after that its bytes only have to keep coming.
 */
export async function fetchObject(
  s3: S3Connection,
  wanted: SnapshotDownload,
  doing: string,
  signal: AbortSignal,
): Promise<Fetched> {
  const { path } = wanted;
  const key = snapshotKey(s3.settings, wanted.name);
  const head = await existingObject(s3, key, doing, signal);
  const warnings: Error[] = [];
  const source = { key, doing, head, partSize: await partSizeOf(s3, { key, doing, head }, warnings, signal) };
  try {
    const there = await lookAtFile(s3, path, source, signal);
    if (there !== undefined) {
      await removePartials(path);
      wanted.onProgress?.(head.size, head.size);
      return { head, verified: there, resumed: head.size, warnings };
    }
    const first = await fetchFile(s3, wanted, source, undefined, signal);
    if ('differs' in first) warnings.push(damaged(source));
    const got = 'differs' in first ? await fetchFile(s3, wanted, source, first.differs, signal) : first;
    if ('differs' in got) throw damaged(source);
    if (got.doubt !== undefined) warnings.push(got.doubt);
    return { head, verified: got.verified, resumed: got.resumed, warnings };
  } catch (error) {
    throw await diskError(error, { what: `Cannot write ${path}`, path: dirname(path), needed: head.size });
  }
}

/** `differs`: the sum of bytes that are not what was stored, or whose ETag is made in a way that nobody knows; no file is left. */
type Outcome =
  | (Pick<Fetched, 'verified' | 'resumed'> & { readonly doubt?: Error })
  | { readonly differs: string };

/** @param before the sum of what arrived the last time, where it differed */
async function fetchFile(
  s3: S3Connection,
  wanted: SnapshotDownload,
  source: Source,
  before: string | undefined,
  signal: AbortSignal,
): Promise<Outcome> {
  const { path } = wanted;
  const { size } = source.head;
  const { partSize = RANGE_BYTES } = source;
  const fits = partSize >= LEAST_RANGE_BYTES && partSize <= MOST_RANGE_BYTES;
  const ranges = rangesOf(size, fits ? partSize : RANGE_BYTES);
  await using file = await PartialFile.open({ path, id: idOf(s3, source, ranges), size, ranges }, signal);
  const { missing } = file;
  const resumed = size - bytesIn(missing);
  try {
    await fetchRanges(s3, source, file, missing, signal, (fetched) =>
      wanted.onProgress?.(resumed + fetched, size),
    );
    const found = await compareSums(source, (range) => file.sum(range));
    const { verified } = found;
    if (verified === 'different') {
      const own = await ownHash(wanted.name, size, file.read(), signal);
      // A damage on the way is another one each time; the same bytes twice are what the server has.
      const accepted = own === undefined ? found.sum === before : own;
      if (!accepted) {
        await file.drop();
        return { differs: found.sum };
      }
      await file.commit(signal);
      return { verified: 'size', resumed, doubt: strangeEtag(source) };
    }
    await file.commit(signal);
    return { verified, resumed };
  } catch (error) {
    // What these say of the bytes will not change; all else is worth another try.
    if (isSnapshotError(error, 'corrupt', 'conflict', 'not-found')) await file.drop();
    throw error;
  }
}

async function fetchRanges(
  s3: S3Connection,
  source: Source,
  file: PartialFile,
  ranges: readonly ByteRange[],
  signal: AbortSignal,
  onProgress: (bytes: number) => void,
): Promise<void> {
  const failed = new AbortController();
  const inner = AbortSignal.any([signal, failed.signal]);
  let fetched = 0;
  await pMap(
    ranges,
    async (range) => {
      if (inner.aborted) return;
      try {
        await fetchRange(s3, source, file, range, inner);
        await file.finish(range);
        fetched += range.end - range.start;
        onProgress(fetched);
      } catch (error) {
        failed.abort(error);
      }
    },
    { concurrency: AT_ONCE },
  );
  if (signal.aborted) throw abortError(signal);
  if (failed.signal.aborted) throw asError(failed.signal.reason);
}

/** A try that breaks off in the middle is followed by one that goes on from there. */
async function fetchRange(
  s3: S3Connection,
  { key, doing, head }: Source,
  file: PartialFile,
  { start, end }: ByteRange,
  signal: AbortSignal,
): Promise<void> {
  let position = start;
  const batch = Buffer.allocUnsafe(Math.min(BATCH_BYTES, end - start));
  let filled = 0;
  const flush = async () => {
    if (signal.aborted) throw abortError(signal);
    await file.write(batch.subarray(0, filled), position);
    position += filled;
    filled = 0;
  };
  const take = async (body: AsyncIterable<Uint8Array>) => {
    try {
      for await (const chunk of body) {
        if (position + filled + chunk.length > end)
          throw noAnswer(doing, `${s3.settings.endpoint} answered with more bytes than were asked for`);
        for (let at = 0; at < chunk.length; ) {
          const count = Math.min(chunk.length - at, batch.length - filled);
          batch.set(chunk.subarray(at, at + count), filled);
          filled += count;
          at += count;
          if (filled === batch.length) await flush();
        }
      }
    } finally {
      await flush();
    }
    if (position < end) throw tooShort(doing, end - position);
  };
  const attempt = (inner: AbortSignal, time: OperationClock) => {
    time.start();
    return readCall(s3, 'GetObject', doing, inner, async (client, options, customerKey) => {
      const wanted = { key, doing, etag: head.etag, range: { start: position, end } };
      const body = await requestRange(s3, wanted, client, options, customerKey);
      time.pause();
      const onAbort = () => body.destroy(abortError(inner));
      inner.addEventListener('abort', onAbort, { once: true });
      try {
        await take(body);
      } finally {
        inner.removeEventListener('abort', onAbort);
        body.destroy();
        time.start();
      }
    });
  };
  while (position < end) {
    const before = position;
    try {
      await s3.timedByClock(doing, signal, attempt).catch(ifReplaced(doing));
    } catch (error) {
      // A line that breaks again and again, and moves, gets there in the end.
      if (signal.aborted || position === before || !isSnapshotError(error) || !error.retryable) throw error;
    }
  }
}

function bytesIn(ranges: readonly ByteRange[]): number {
  return ranges.reduce((sum, { start, end }) => sum + end - start, 0);
}

/** The same only for the same bytes, cut into the same ranges. */
function idOf(s3: S3Connection, { key, head }: Source, ranges: readonly ByteRange[]): string {
  const { endpoint, bucket } = s3.settings;
  const version = head.etag ?? head.lastModified?.toISOString();
  const facts = [endpoint, bucket, key, version, head.size, ranges.length];
  return createHash('sha256').update(JSON.stringify(facts)).digest('hex').slice(0, 8);
}
