import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { lstat, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { HeadObjectCommand } from '@aws-sdk/client-s3';
import pMap from 'p-map';
import { abortError, asError, isSnapshotError, SnapshotError, systemCode } from '../errors.ts';
import type { ByteRange, DownloadedSnapshot, SnapshotDownload } from '../snapshot/ports.ts';
import { diskError } from './disk-errors.ts';
import { FileSums } from './file-sums.ts';
import { inTheWay, PartialFile, removePartials } from './partial-file.ts';
import type { S3Connection } from './s3-client.ts';
import { existingObject, ifReplaced, requestRange, tooShort } from './s3-download.ts';
import { snapshotKey } from './s3-keys.ts';
import { bareEtag, noAnswer, type ObjectHead } from './s3-list.ts';
import { etagOfParts } from './s3-multipart.ts';
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

/** One and the same object, from the first byte to the last. */
interface Source {
  readonly key: string;
  /** What could not be done when it fails. */
  readonly doing: string;
  readonly head: ObjectHead;
  /** Bytes of each of its parts but the last; undefined: it has none, or nobody knows. */
  readonly partSize: number | undefined;
}

type SumOf = (range: ByteRange) => Promise<string>;

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
    if (await isThere(path, source)) {
      await removePartials(path);
      wanted.onProgress?.(head.size, head.size);
      return { head, verified: 'sum', resumed: head.size, warnings };
    }
    const fetched = await fetchFile(s3, wanted, source, signal).catch((error: unknown) => {
      if (!isSnapshotError(error, 'corrupt')) throw error;
      warnings.push(error);
      return fetchFile(s3, wanted, source, signal);
    });
    return { head, warnings, ...fetched };
  } catch (error) {
    throw await diskError(error, { what: `Cannot write ${path}`, path: dirname(path), needed: head.size });
  }
}

async function fetchFile(
  s3: S3Connection,
  wanted: SnapshotDownload,
  source: Source,
  signal: AbortSignal,
): Promise<Pick<Fetched, 'verified' | 'resumed'>> {
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
    if (found === 'different') throw damaged(source);
    await file.commit(signal);
    return { verified: found, resumed };
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

/** @returns undefined also when the server does not say */
async function partSizeOf(
  s3: S3Connection,
  { key, doing, head }: Pick<Source, 'key' | 'doing' | 'head'>,
  warnings: Error[],
  signal: AbortSignal,
): Promise<number | undefined> {
  if (partsIn(head) === undefined) return undefined;
  const input = { Bucket: s3.settings.bucket, Key: key, PartNumber: 1 };
  try {
    const part = await s3.timed(doing, signal, (inner) =>
      readCall(s3, 'HeadObject', doing, inner, (client, options, customerKey) =>
        client.send(new HeadObjectCommand({ ...customerKey, ...input }), options),
      ),
    );
    return part.ContentLength;
  } catch (error) {
    if (signal.aborted) throw error;
    warnings.push(asError(error));
    return undefined;
  }
}

/** Of how many parts an object was made, as its ETag tells; undefined: it was sent in one request. */
function partsIn(head: ObjectHead): number | undefined {
  const [, count] = /^[0-9a-f]{32}-(\d+)$/i.exec(bareEtag(head.etag) ?? '') ?? [];
  return count === undefined ? undefined : Number(count);
}

/** Holds the sums of bytes here against the one that the ETag of their object is, where it is one. */
async function compareSums(
  { head, partSize }: Source,
  sumOf: SumOf,
): Promise<DownloadedSnapshot['verified'] | 'different'> {
  const etag = bareEtag(head.etag)?.toLowerCase() ?? '';
  const count = partsIn(head);
  let ours: string | undefined;
  if (count === undefined) {
    if (!/^[0-9a-f]{32}$/.test(etag)) return 'size';
    ours = await sumOf({ start: 0, end: head.size });
  } else {
    // Parts of different sizes: nobody tells which.
    if (partSize === undefined || Math.ceil(head.size / partSize) !== count) return 'size';
    const parts = rangesOf(head.size, partSize);
    const sums: { ETag: string }[] = [];
    for (const part of parts) sums.push({ ETag: await sumOf(part) });
    ours = bareEtag(etagOfParts(sums));
  }
  if (ours === etag) return 'sum';
  return head.encryption === undefined ? 'different' : 'size';
}

/** Whether the file is there already. @throws SnapshotError `exists` when it is another one */
async function isThere(path: string, source: Source): Promise<boolean> {
  const stats = await lstat(path).catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw error;
  });
  if (stats === undefined) return false;
  if (!stats.isFile() || stats.size !== source.head.size) throw inTheWay(path);
  await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  await using sums = new FileSums(file);
  if ((await compareSums(source, (range) => sums.of(range))) !== 'sum') throw inTheWay(path);
  return true;
}

function rangesOf(size: number, each: number): readonly ByteRange[] {
  const count = Math.ceil(size / each);
  return Array.from({ length: count }, (_, number) => ({
    start: number * each,
    end: Math.min((number + 1) * each, size),
  }));
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

function damaged({ doing, head }: Source): SnapshotError {
  return new SnapshotError('corrupt', doing, {
    why: `what arrived is not what was stored: its MD5 sums do not give the ETag ${bareEtag(head.etag)}`,
    hint: 'Try again; if it stays so, restore another snapshot, and check the S3 server and what stands before it.',
    retryable: true,
  });
}
