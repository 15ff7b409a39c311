import { constants } from 'node:fs';
import { lstat, open } from 'node:fs/promises';
import { basename } from 'node:path';
import { HeadObjectCommand } from '@aws-sdk/client-s3';
import { abortError, asError, SnapshotError, systemCode } from '../errors.ts';
import { HASH_BYTES, IntegrityCheck, plausibleSnapshotSize } from '../snapshot/integrity.ts';
import type { ByteRange, DownloadedSnapshot } from '../snapshot/ports.ts';
import { FileSums } from './file-sums.ts';
import { inTheWay } from './partial-file.ts';
import type { S3Connection } from './s3-client.ts';
import { ifReplaced, requestRange } from './s3-download.ts';
import { bareEtag, type ObjectHead } from './s3-list.ts';
import { etagOfParts } from './s3-multipart.ts';
import { readCall } from './s3-read.ts';

/** One and the same object, from the first byte to the last. */
export interface Source {
  readonly key: string;
  /** What could not be done when it fails. */
  readonly doing: string;
  readonly head: ObjectHead;
  /** Bytes of each of its parts but the last; undefined: it has none, or nobody knows. */
  readonly partSize: number | undefined;
}

type SumOf = (range: ByteRange) => Promise<string>;

/** @returns undefined also when the server does not say */
export async function partSizeOf(
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

interface Compared {
  readonly verified: DownloadedSnapshot['verified'] | 'different';
  /** Of the bytes here, made as their ETag should be; empty: the ETag is no sum. */
  readonly sum: string;
}

/** Holds the sums of bytes here against the one that the ETag of their object is, where it is one. */
export async function compareSums({ head, partSize }: Source, sumOf: SumOf): Promise<Compared> {
  const etag = bareEtag(head.etag)?.toLowerCase() ?? '';
  const count = partsIn(head);
  let sum: string;
  if (count === undefined) {
    if (!/^[0-9a-f]{32}$/.test(etag)) return { verified: 'size', sum: '' };
    sum = await sumOf({ start: 0, end: head.size });
  } else {
    // Parts of different sizes: nobody tells which.
    if (partSize === undefined || Math.ceil(head.size / partSize) !== count)
      return { verified: 'size', sum: '' };
    const parts = rangesOf(head.size, partSize);
    const sums: { ETag: string }[] = [];
    for (const part of parts) sums.push({ ETag: await sumOf(part) });
    sum = bareEtag(etagOfParts(sums)) ?? '';
  }
  if (sum === etag) return { verified: 'sum', sum };
  return { verified: head.encryption === undefined ? 'different' : 'size', sum };
}

/**
 * Whether the SHA-256 that etcd has put behind a snapshot is that of the bytes before it.
 * @returns undefined where there is none that could be looked at: in an archive
 */
export async function ownHash(
  name: string,
  size: number,
  bytes: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<boolean | undefined> {
  if (name.endsWith('.zip')) return undefined;
  if (!plausibleSnapshotSize(size)) return false;
  const check = new IntegrityCheck();
  for await (const chunk of bytes) {
    if (signal.aborted) throw abortError(signal);
    check.update([chunk]);
  }
  return check.conclude().problem === undefined;
}

/**
 * How the file that is there already was verified; undefined: there is none.
 * @throws SnapshotError `exists` when it is another one, or nobody can tell
 */
export async function lookAtFile(
  s3: S3Connection,
  path: string,
  source: Source,
  signal: AbortSignal,
): Promise<DownloadedSnapshot['verified'] | undefined> {
  const stats = await lstat(path).catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw error;
  });
  if (stats === undefined) return undefined;
  const { size } = source.head;
  if (!stats.isFile() || stats.size !== size) throw inTheWay(path);
  await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  await using sums = new FileSums(file);
  if ((await compareSums(source, (range) => sums.of(range))).verified === 'sum') return 'sum';
  // The ETag may be no sum. Two sound snapshots with the same hash behind them are the same one.
  const bytes = file.createReadStream({ start: 0, autoClose: false });
  if ((await ownHash(basename(path), size, bytes, signal)) !== true) throw inTheWay(path);
  const tail = Buffer.alloc(HASH_BYTES);
  await file.read(tail, 0, HASH_BYTES, size - HASH_BYTES);
  if (!tail.equals(await lastBytes(s3, source, signal))) throw inTheWay(path);
  return 'size';
}

async function lastBytes(
  s3: S3Connection,
  { key, doing, head }: Source,
  signal: AbortSignal,
): Promise<Buffer> {
  const range = { start: head.size - HASH_BYTES, end: head.size };
  return s3.timed(doing, signal, (inner) =>
    readCall(s3, 'GetObject', doing, inner, async (client, options, customerKey) => {
      const body = await requestRange(
        s3,
        { key, doing, etag: head.etag, range },
        client,
        options,
        customerKey,
      );
      const chunks: Uint8Array[] = [];
      for await (const chunk of body) chunks.push(chunk);
      return Buffer.concat(chunks);
    }).catch(ifReplaced(doing)),
  );
}

export function rangesOf(size: number, each: number): readonly ByteRange[] {
  const count = Math.ceil(size / each);
  return Array.from({ length: count }, (_, number) => ({
    start: number * each,
    end: Math.min((number + 1) * each, size),
  }));
}

export function damaged({ doing, head }: Source): SnapshotError {
  return new SnapshotError('corrupt', doing, {
    why: `what arrived is not what was stored: its MD5 sums do not give the ETag ${bareEtag(head.etag)}`,
    hint: 'Try again; if it stays so, restore another snapshot, and check the S3 server and what stands before it.',
    retryable: true,
  });
}

/** Of bytes that are sound, or that came twice the same. */
export function strangeEtag({ doing, head }: Source): SnapshotError {
  return new SnapshotError('protocol', `${doing}: only its size was compared with what was stored`, {
    why: `its ETag ${bareEtag(head.etag)} is not made of MD5 sums as Amazon makes it, as after a copy between servers`,
    hint: 'The hash inside the snapshot is checked by restore and verify.',
  });
}
