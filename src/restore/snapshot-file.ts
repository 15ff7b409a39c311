import type { Stats } from 'node:fs';
import { type FileHandle, open, realpath, stat, statfs } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { abortError, asError, isSnapshotError, SnapshotError, systemCode } from '../errors.ts';
import { IntegrityCheck, plausibleSnapshotSize } from '../snapshot/integrity.ts';
import { looksLikeBolt } from './bolt-file.ts';
import { looksLikeZip, openZip } from './zip-entry.ts';

const READ_BYTES = 4 * 1024 * 1024;
const HEAD_BYTES = 64;

/** A snapshot on the disk of this node, recognised by its first bytes and not by its name. */
export interface SnapshotFile {
  /** Without symbolic links. */
  readonly path: string;
  /** Bytes on disk. */
  readonly size: number;
  readonly compressed: boolean;
  /** Bytes of the plain snapshot, the hash behind it included; of a zip, as the zip says. */
  readonly plainSize: number;
  /** What it was when it was found; see `assertSame`. */
  readonly stats: Stats;
}

/**
 * Looks at a file without reading it.
 * @throws SnapshotError `not-found` | `corrupt` when it can be no snapshot | `read-only` | `io`
 */
export async function findSnapshotFile(given: string): Promise<SnapshotFile> {
  try {
    const path = await realpath(given);
    const stats = await stat(path);
    // Before it is opened: opening a FIFO waits for somebody who writes into it.
    if (!stats.isFile()) throw noSnapshot(given, `it is ${kindOf(stats)}, and a snapshot is a regular file`);
    if (stats.size === 0) throw noSnapshot(given, 'it is empty: it was never written, or was cut off');
    const head = await firstBytes(path);
    if (looksLikeZip(head)) {
      await using zip = await openZip(path);
      const { size: plainSize } = zip.entry;
      if (!plausibleSnapshotSize(plainSize)) throw noSnapshot(given, sizeProblem(plainSize, 'unpacked, '));
      return { path, size: stats.size, compressed: true, plainSize, stats };
    }
    if (!looksLikeBolt(head)) {
      throw noSnapshot(given, 'it is neither a zip nor a database of etcd: its first bytes are others');
    }
    if (!plausibleSnapshotSize(stats.size)) throw noSnapshot(given, sizeProblem(stats.size, ''));
    return { path, size: stats.size, compressed: false, plainSize: stats.size, stats };
  } catch (error) {
    throw unreadable(given, error);
  }
}

/**
 * Reads a snapshot to its end, and proves it.
 * @param target a new file for the plain snapshot; undefined where only the proof is wanted
 * @returns its SHA-256 in hex digits, which is also what etcd put behind it
 * @throws SnapshotError `corrupt` | `conflict` when it changes meanwhile | `disk-full` | `io` | `aborted`
 */
export async function proveSnapshotFile(
  file: SnapshotFile,
  target: string | undefined,
  signal: AbortSignal,
): Promise<string> {
  const check = new IntegrityCheck();
  try {
    await using zip = file.compressed ? await openZip(file.path) : undefined;
    await using out = target === undefined ? undefined : await open(target, 'wx', 0o600);
    const bytes = zip === undefined ? plainBytes(file.path, signal) : Readable.from(zip.bytes(), { signal });
    for await (const chunk of bytes as AsyncIterable<Buffer>) {
      if (check.bytes === 0 && !looksLikeBolt(chunk)) {
        throw noSnapshot(file.path, 'what is in the zip is no database of etcd');
      }
      check.update([chunk]);
      if (out !== undefined) await writeAll(out, chunk, file.path);
    }
    await assertSame(file);
    const { sha256, problem } = check.conclude();
    if (problem !== undefined) throw noSnapshot(file.path, problem);
    if (check.bytes !== file.plainSize) {
      throw noSnapshot(file.path, `${file.plainSize} bytes were promised and ${check.bytes} came`);
    }
    return sha256;
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw unreadable(file.path, error);
  }
}

/** @throws SnapshotError `conflict` when somebody has written to the file, or replaced it, since it was found */
export async function assertSame(file: SnapshotFile): Promise<void> {
  const now = await stat(file.path);
  const { stats } = file;
  if (now.size === stats.size && now.mtimeMs === stats.mtimeMs && now.ino === stats.ino) return;
  throw new SnapshotError('conflict', `${file.path} changed while it was read`, {
    why: `it had ${stats.size} bytes, and has ${now.size} now`,
    hint: 'Wait until whatever writes it has ended, and try again.',
    retryable: true,
  });
}

/** @throws SnapshotError `disk-full` naming what is needed and what is there, in bytes */
export async function assertSpace(folder: string, needed: number, what: string, cure: string): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  if (free >= needed) return;
  throw new SnapshotError('disk-full', `There is not enough space in ${folder} for ${what}`, {
    why: `${needed} bytes are needed, and ${free} are free`,
    hint: cure,
  });
}

async function writeAll(out: FileHandle, chunk: Buffer, path: string): Promise<void> {
  let done = 0;
  try {
    while (done < chunk.length) done += (await out.write(chunk, done)).bytesWritten;
  } catch (error) {
    if (systemCode(error) !== 'ENOSPC' && systemCode(error) !== 'EDQUOT') throw error;
    throw new SnapshotError('disk-full', `${path} cannot be unpacked`, {
      why: 'the disk is full',
      hint: 'Free some space, or name a folder on another disk with --temp-dir.',
      cause: error,
    });
  }
}

/** All chunks in one and the same buffer: new ones for hundreds of megabytes would take longer than reading them. */
async function* plainBytes(path: string, signal: AbortSignal): AsyncGenerator<Buffer> {
  await using file = await open(path, 'r');
  const buffer = Buffer.allocUnsafe(READ_BYTES);
  for (;;) {
    if (signal.aborted) throw abortError(signal);
    const { bytesRead } = await file.read(buffer, 0, READ_BYTES);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
  }
}

async function firstBytes(path: string): Promise<Buffer> {
  await using file = await open(path, 'r');
  const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
  return buffer.subarray(0, bytesRead);
}

function kindOf(stats: Stats): string {
  if (stats.isDirectory()) return 'a folder';
  if (stats.isFIFO()) return 'a FIFO';
  return stats.isSocket() ? 'a socket' : 'a device';
}

function sizeProblem(size: number, when: string): string {
  const many = `${when}${size} bytes are not whole 512-byte pages and a 32-byte hash`;
  return size % 512 === 0
    ? `${many}: it is a copy of a database (member/snap/db), or was cut off; a snapshot ends with its hash`
    : `${many}: it was cut off, or something was added`;
}

function noSnapshot(path: string, why: string): SnapshotError {
  return new SnapshotError('corrupt', `${path} is no whole snapshot`, {
    why,
    hint: 'Take another copy of it or another snapshot: "etcd-snapshot ls" shows what there is.',
  });
}

function unreadable(path: string, error: unknown): SnapshotError {
  if (isSnapshotError(error)) return error;
  if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(systemCode(error) ?? '')) {
    return new SnapshotError('not-found', `There is no snapshot ${path}`, {
      hint: 'List what there is with "etcd-snapshot ls", and give a name from it or a path.',
      cause: error,
    });
  }
  return new SnapshotError('io', `${path} cannot be read`, {
    why: asError(error).message,
    hint: 'Run as a user who may read it (usually root), and check the disk: the kernel log (dmesg) may say more.',
    cause: error,
  });
}
