import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { asError, SnapshotError } from '../errors.ts';

/**
 * Reads a bbolt file, the database of etcd, without a lock and without writing: as much of its format as a look at a
 * snapshot needs. Pages are numbered; each begins with its number (8 bytes), flags (2), count of elements (2) and count of
 * pages that it goes on for (4), all little-endian.
 */
const HEADER_BYTES = 16;
const ELEMENT_BYTES = 16;
const META_BYTES = 64;
const MAGIC = 0xed0cdaed;
const VERSION = 2;
const BRANCH = 0x01;
const LEAF = 0x02;
const META = 0x04;
const IS_BUCKET = 1;
/** No tree that fits on a disk is deeper. */
const MAX_DEPTH = 32;

export interface BoltEntry {
  readonly key: Buffer;
  readonly size: number;
  /** The first bytes of the value, at most so many as are asked for. */
  value(most?: number): Buffer;
}

/** Where the entries of a bucket are: on pages of their own, or, when they are few, inside the entry that names the bucket. */
export type BoltBucket = { readonly root: number } | { readonly inline: Buffer };

interface Page {
  readonly flags: number;
  readonly count: number;
  read(at: number, length: number): Buffer;
}

/** What carries the first bytes `head` of a file is a database of etcd, or part of one. */
export function looksLikeBolt(head: Uint8Array): boolean {
  const bytes = Buffer.from(head.buffer, head.byteOffset, head.byteLength);
  return bytes.length >= HEADER_BYTES + 8 && bytes.readUInt32LE(HEADER_BYTES) === MAGIC;
}

export class BoltFile implements Disposable {
  readonly #path: string;
  readonly #fd: number;
  readonly #size: number;
  readonly pageSize: number;
  readonly #root: number;

  private constructor(path: string, fd: number, size: number, meta: { pageSize: number; root: number }) {
    this.#path = path;
    this.#fd = fd;
    this.#size = size;
    this.pageSize = meta.pageSize;
    this.#root = meta.root;
  }

  /** @throws SnapshotError `corrupt` when it is none, and system errors */
  static open(path: string): BoltFile {
    const fd = openSync(path, 'r');
    try {
      const { size } = fstatSync(fd);
      return new BoltFile(path, fd, size, newestMeta(path, fd, size));
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  bucket(name: string): BoltBucket | undefined {
    for (const entry of this.#walk({ root: this.#root }, MAX_DEPTH, true)) {
      if (entry.key.toString() === name) return bucketOf(entry.value());
    }
    return undefined;
  }

  /** In the order of their keys. */
  *entries(bucket: BoltBucket): Generator<BoltEntry> {
    yield* this.#walk(bucket, MAX_DEPTH, false);
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }

  *#walk(bucket: BoltBucket, depth: number, buckets: boolean): Generator<BoltEntry> {
    if (depth === 0) throw this.#damaged('its pages lead in a circle');
    const page = 'inline' in bucket ? inlinePage(bucket.inline) : this.#page(bucket.root);
    if (page.flags !== LEAF && page.flags !== BRANCH) throw this.#damaged('a page is of another kind');
    const table = page.read(HEADER_BYTES, page.count * ELEMENT_BYTES);
    for (let at = 0; at < table.length; at += ELEMENT_BYTES) {
      if (page.flags === BRANCH) {
        yield* this.#walk({ root: Number(table.readBigUInt64LE(at + 8)) }, depth - 1, buckets);
        continue;
      }
      if ((table.readUInt32LE(at) === IS_BUCKET) !== buckets) continue;
      const start = HEADER_BYTES + at + table.readUInt32LE(at + 4);
      const keyBytes = table.readUInt32LE(at + 8);
      const size = table.readUInt32LE(at + 12);
      yield {
        key: page.read(start, keyBytes),
        size,
        value: (most = size) => page.read(start + keyBytes, Math.min(most, size)),
      };
    }
  }

  #page(number: number): Page {
    const offset = number * this.pageSize;
    const first = this.#read(offset, this.pageSize);
    if (Number(first.readBigUInt64LE(0)) !== number) throw this.#damaged(`page ${number} is another one`);
    const end = (first.readUInt32LE(12) + 1) * this.pageSize;
    return {
      flags: first.readUInt16LE(8),
      count: first.readUInt16LE(10),
      read: (at, length) => {
        if (at + length > end) throw this.#damaged(`page ${number} is too short`);
        if (at + length <= first.length) return first.subarray(at, at + length);
        return this.#read(offset + at, length);
      },
    };
  }

  #read(offset: number, length: number): Buffer {
    if (!Number.isSafeInteger(offset) || offset + length > this.#size) {
      throw this.#damaged('a page lies behind its end');
    }
    return readFully(this.#fd, offset, length);
  }

  #damaged(why: string): SnapshotError {
    return damagedDatabase(this.#path, why);
  }
}

export function damagedDatabase(path: string, why: string, cause?: unknown): SnapshotError {
  return new SnapshotError('corrupt', `${path} is no whole database of etcd`, {
    why,
    hint: 'Take another snapshot: this one cannot be restored.',
    cause,
  });
}

function readFully(fd: number, offset: number, length: number): Buffer {
  const buffer = Buffer.allocUnsafe(length);
  let got = 0;
  while (got < length) {
    const count = readSync(fd, buffer, got, length - got, offset + got);
    if (count === 0) throw new RangeError('the file became shorter while it was read');
    got += count;
  }
  return buffer;
}

function bucketOf(value: Buffer): BoltBucket {
  const root = Number(value.readBigUInt64LE(0));
  return root === 0 ? { inline: value.subarray(16) } : { root };
}

function inlinePage(bytes: Buffer): Page {
  return {
    flags: bytes.readUInt16LE(8),
    count: bytes.readUInt16LE(10),
    read(at, length) {
      if (at + length > bytes.length) throw new RangeError('a small bucket is cut short');
      return bytes.subarray(at, at + length);
    },
  };
}

/** Of the two meta pages the one with the later transaction counts, as long as its checksum is right. */
function newestMeta(path: string, fd: number, size: number): { pageSize: number; root: number } {
  let newest: { pageSize: number; root: number; transaction: bigint } | undefined;
  try {
    let pageSize = 0;
    for (const page of [0, 1]) {
      // The second page begins where the first one says; when that is damaged, where pages mostly end.
      const offset = page * (pageSize === 0 ? 4096 : pageSize);
      if (size < offset + HEADER_BYTES + META_BYTES) break;
      const bytes = readFully(fd, offset, HEADER_BYTES + META_BYTES);
      const meta = bytes.subarray(HEADER_BYTES);
      const sound =
        bytes.readUInt16LE(8) === META &&
        meta.readUInt32LE(0) === MAGIC &&
        meta.readUInt32LE(4) === VERSION &&
        meta.readBigUInt64LE(56) === fnv1a(meta.subarray(0, 56));
      if (!sound) continue;
      pageSize = meta.readUInt32LE(8);
      const transaction = meta.readBigUInt64LE(48);
      if (newest !== undefined && newest.transaction >= transaction) continue;
      newest = { pageSize, root: Number(meta.readBigUInt64LE(16)), transaction };
    }
  } catch (error) {
    throw damagedDatabase(path, asError(error).message, error);
  }
  if (newest === undefined) throw damagedDatabase(path, 'it does not begin as a database of etcd does');
  return newest;
}

function fnv1a(bytes: Uint8Array): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of bytes) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash;
}
