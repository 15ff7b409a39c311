import type { Readable } from 'node:stream';
import { crc32 } from 'node:zlib';
import { type Entry, openPromise, type ZipFile } from 'yauzl';
import { asError, SnapshotError } from '../errors.ts';
import { nameProblem } from '../snapshot/naming.ts';

const ENCRYPTED = 1;

/** The one file in a compressed snapshot. */
export interface ZipEntry {
  readonly name: string;
  /** Bytes when it is unpacked, as the archive says. */
  readonly size: number;
}

/** Whether the first bytes of a file are those of a zip. */
export function looksLikeZip(head: Uint8Array): boolean {
  return head[0] === 0x50 && head[1] === 0x4b && (head[2] === 3 || head[2] === 5) && head[3] === head[2] + 1;
}

/**
 * Opens a compressed snapshot: a zip of exactly one plain file. Nothing is unpacked under the name that stands in it.
 * @throws SnapshotError `corrupt`
 */
export async function openZip(path: string): Promise<
  AsyncDisposable & {
    readonly entry: ZipEntry;
    /** Its bytes, once. @throws SnapshotError `corrupt` when they are not those that were packed */
    bytes(): AsyncGenerator<Buffer>;
  }
> {
  const zip = await openPromise(path, { autoClose: false }).catch((error: unknown) => {
    throw badZip(path, asError(error).message, error);
  });
  try {
    const entry = await onlyEntry(path, zip);
    return {
      entry: { name: entry.fileName, size: entry.uncompressedSize },
      bytes: () => unpack(path, zip, entry),
      [Symbol.asyncDispose]: async () => zip.close(),
    };
  } catch (error) {
    zip.close();
    throw error;
  }
}

async function onlyEntry(path: string, zip: ZipFile): Promise<Entry> {
  if (zip.entryCount !== 1) throw badZip(path, `it holds ${zip.entryCount} files, and a snapshot is one`);
  let found: Entry | undefined;
  try {
    for await (const entry of zip.eachEntry()) found ??= entry;
  } catch (error) {
    throw badZip(path, asError(error).message, error);
  }
  if (found === undefined) throw badZip(path, 'the list of its files is cut off');
  const ofName = nameProblem(found.fileName);
  if (ofName !== undefined) throw badZip(path, `the name of the file in it is no plain one: ${ofName}`);
  if ((found.generalPurposeBitFlag & ENCRYPTED) !== 0) {
    throw badZip(path, 'it is encrypted', undefined, 'Decrypt it first; neither K3s nor we encrypt zips.');
  }
  if (found.compressionMethod !== 0 && found.compressionMethod !== 8) {
    throw badZip(path, `it is packed by method ${found.compressionMethod}, and only Deflate (8) is known`);
  }
  return found;
}

async function* unpack(path: string, zip: ZipFile, entry: Entry): AsyncGenerator<Buffer> {
  let sum = 0;
  try {
    const stream: Readable = await zip.openReadStreamPromise(entry);
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      sum = crc32(chunk, sum);
      yield chunk;
    }
  } catch (error) {
    throw badZip(path, asError(error).message, error);
  }
  if (sum !== entry.crc32) throw badZip(path, 'the checksum of what was unpacked is not the one in the zip');
}

function badZip(path: string, why: string, cause?: unknown, hint?: string): SnapshotError {
  return new SnapshotError('corrupt', `${path} is no zip of a snapshot`, {
    why,
    hint: hint ?? 'Take another copy of this snapshot, or another snapshot.',
    cause,
  });
}
