import { crc32 } from 'node:zlib';
import { parallelDeflate } from './parallel-deflate.ts';
import { centralDirectory, dataDescriptor, localHeader, overhead, type ZipEntry } from './zip-format.ts';

/** Beyond this a size may not fit 32 bits any more once incompressible data has grown a little. */
const ZIP64_FROM_BYTES = 0xffff0000 - 0x1000000;

/** What deflate may add to incompressible data: five bytes a stored block, and a flush a megabyte. */
function deflateBound(bytes: number): number {
  return bytes + Math.ceil(bytes / 16_000) * 5 + Math.ceil(bytes / 1_000_000) * 16 + 64;
}

/** Upper bound of the zip of so many bytes, for names of up to 255 bytes. */
export function maxZipSize(bytes: number): number {
  return deflateBound(bytes) + overhead('x'.repeat(255));
}

/**
 * A zip with exactly one deflated entry (mode 0600), written in one pass: sizes and checksum follow the data, nothing that
 * was given out is changed later. Memory is bounded by the blocks in flight.
 * @throws what `input` throws, and the signal's reason
 */
export async function* zipOneEntry(
  input: AsyncIterable<readonly Uint8Array[]>,
  entry: { readonly name: string; readonly mtime: Date; readonly expectedSize: number },
  signal: AbortSignal,
): AsyncGenerator<readonly Uint8Array[]> {
  const header: ZipEntry = {
    name: entry.name,
    mtime: entry.mtime,
    zip64: entry.expectedSize >= ZIP64_FROM_BYTES,
  };
  const counted = new Tally();
  const first = localHeader(header);
  yield [first];
  let compressed = 0;
  for await (const block of parallelDeflate(counted.over(input), signal)) {
    compressed += block.length;
    yield [block];
  }
  const sizes = { crc32: counted.crc32, compressed, uncompressed: counted.bytes };
  const descriptor = dataDescriptor(header, sizes);
  yield [descriptor, centralDirectory(header, sizes, first.length + compressed + descriptor.length)];
}

/** Counts and sums up what passes. */
class Tally {
  bytes = 0;
  crc32 = 0;

  async *over(input: AsyncIterable<readonly Uint8Array[]>): AsyncGenerator<readonly Uint8Array[]> {
    for await (const batch of input) {
      for (const slice of batch) {
        this.bytes += slice.length;
        this.crc32 = crc32(slice, this.crc32);
      }
      yield batch;
    }
  }
}
