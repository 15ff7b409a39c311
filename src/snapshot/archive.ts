import { SnapshotError } from '../errors.ts';
import { BLOCK_BYTES, type DeflateTotals, parallelDeflate } from './parallel-deflate.ts';
import { dataDescriptor, directory, localHeader, needsZip64, type ZipEntry } from './zip-format.ts';

/** Headers, directory and two names of at most 255 bytes, with room to spare. */
const FRAME_BYTES = 1024;

/**
 * Upper bound of the size in bytes of a zip of `bytes` bytes. What does not compress is stored with 5 bytes per 16 KiB,
 * and every block ends with a flush of at most 16.
 */
export function maxZipSize(bytes: number): number {
  return bytes + Math.ceil(bytes / 1024) + (Math.ceil(bytes / BLOCK_BYTES) + 1) * 16 + FRAME_BYTES;
}

/**
 * A zip with exactly one entry, in one pass: sizes and CRC stand behind the data. Readers of zip64 are needed only
 * for what can come to 4 GiB.
 * @param entry `expectedSize` in bytes: an upper bound of what `input` yields when that is 4 GiB or more
 * @throws what `input` throws, `aborted`, or SnapshotError `corrupt` when 32-bit sizes turn out not to be enough
 */
export async function* zipOneEntry(
  input: AsyncIterable<readonly Uint8Array[]>,
  entry: { readonly name: string; readonly mtime: Date; readonly expectedSize: number },
  signal: AbortSignal,
): AsyncGenerator<readonly Uint8Array[]> {
  const zipEntry: ZipEntry = {
    name: entry.name,
    mtime: entry.mtime,
    zip64: needsZip64(maxZipSize(entry.expectedSize)),
  };
  const totals: DeflateTotals = { crc: 0, size: 0, compressedSize: 0 };
  const header = localHeader(zipEntry);
  yield [header];
  for await (const bytes of parallelDeflate(input, totals, signal)) yield [bytes];
  const descriptor = dataDescriptorOf(zipEntry, totals, entry.expectedSize);
  const offset = header.length + totals.compressedSize + descriptor.length;
  yield [descriptor, directory(zipEntry, totals, offset)];
}

function dataDescriptorOf(entry: ZipEntry, totals: DeflateTotals, expectedSize: number): Buffer {
  if (!entry.zip64 && (needsZip64(totals.size) || needsZip64(totals.compressedSize))) {
    throw new SnapshotError('corrupt', `${entry.name} cannot be compressed`, {
      why: `${expectedSize} bytes were announced and ${totals.size} came`,
      hint: 'Try again; take the snapshot without compression if it happens twice.',
      retryable: true,
    });
  }
  return dataDescriptor(entry, totals);
}
