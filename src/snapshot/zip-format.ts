/** Records of the ZIP format (APPNOTE 6.3) for an archive of exactly one deflated entry that is written in one pass. */
export interface ZipEntry {
  readonly name: string;
  readonly mtime: Date;
  /** Whether sizes are written with 64 bits: chosen before the first byte, from the announced size. */
  readonly zip64: boolean;
}

export interface ZipSizes {
  readonly crc32: number;
  readonly compressed: number;
  readonly uncompressed: number;
}

const LOCAL_HEADER = 0x04034b50;
const DATA_DESCRIPTOR = 0x08074b50;
const CENTRAL_HEADER = 0x02014b50;
const ZIP64_END = 0x06064b50;
const ZIP64_LOCATOR = 0x07064b50;
const END = 0x06054b50;

/** Sizes follow the data (bit 3); the name is UTF-8 (bit 11). */
const FLAGS = 0x0008 | 0x0800;
const DEFLATED = 8;
const VERSION = 20;
const VERSION_ZIP64 = 45;
/** Upper byte 3: attributes are those of Unix. */
const MADE_BY_UNIX = 3 << 8;
const REGULAR_FILE_0600 = 0o100600;
const FULL_32 = 0xffffffff;

export function localHeader(entry: ZipEntry): Buffer {
  const name = Buffer.from(entry.name);
  // With a data descriptor the sizes here are zero; a zip64 extra tells readers that the descriptor has 64-bit sizes.
  const extra = Buffer.concat([timestampExtra(entry.mtime), ...(entry.zip64 ? [zip64Extra([0, 0])] : [])]);
  const { date, time } = dosTime(entry.mtime);
  return Buffer.concat([
    record(LOCAL_HEADER, [
      [2, entry.zip64 ? VERSION_ZIP64 : VERSION],
      [2, FLAGS],
      [2, DEFLATED],
      [2, time],
      [2, date],
      [4, 0],
      [4, entry.zip64 ? FULL_32 : 0],
      [4, entry.zip64 ? FULL_32 : 0],
      [2, name.length],
      [2, extra.length],
    ]),
    name,
    extra,
  ]);
}

export function dataDescriptor(entry: ZipEntry, sizes: ZipSizes): Buffer {
  const width = entry.zip64 ? 8 : 4;
  return record(DATA_DESCRIPTOR, [
    [4, sizes.crc32],
    [width, sizes.compressed],
    [width, sizes.uncompressed],
  ]);
}

/** Central directory and end records. @param offset bytes before it: local header, data and descriptor */
export function centralDirectory(entry: ZipEntry, sizes: ZipSizes, offset: number): Buffer {
  const name = Buffer.from(entry.name);
  const extra = Buffer.concat([
    timestampExtra(entry.mtime),
    ...(entry.zip64 ? [zip64Extra([sizes.uncompressed, sizes.compressed])] : []),
  ]);
  const { date, time } = dosTime(entry.mtime);
  const version = entry.zip64 ? VERSION_ZIP64 : VERSION;
  const header = Buffer.concat([
    record(CENTRAL_HEADER, [
      [2, MADE_BY_UNIX | version],
      [2, version],
      [2, FLAGS],
      [2, DEFLATED],
      [2, time],
      [2, date],
      [4, sizes.crc32],
      [4, entry.zip64 ? FULL_32 : sizes.compressed],
      [4, entry.zip64 ? FULL_32 : sizes.uncompressed],
      [2, name.length],
      [2, extra.length],
      [2, 0],
      [2, 0],
      [2, 0],
      [4, REGULAR_FILE_0600 * 0x10000],
      [4, 0],
    ]),
    name,
    extra,
  ]);
  const end = record(END, [
    [2, 0],
    [2, 0],
    [2, 1],
    [2, 1],
    [4, header.length],
    [4, entry.zip64 ? FULL_32 : offset],
    [2, 0],
  ]);
  return Buffer.concat([header, ...(entry.zip64 ? zip64End(header.length, offset) : []), end]);
}

/** Bytes that the archive adds to its data at the most. */
export function overhead(name: string): number {
  return 2 * Buffer.byteLength(name) + 400;
}

function zip64End(directoryBytes: number, offset: number): Buffer[] {
  return [
    record(ZIP64_END, [
      [8, 44],
      [2, MADE_BY_UNIX | VERSION_ZIP64],
      [2, VERSION_ZIP64],
      [4, 0],
      [4, 0],
      [8, 1],
      [8, 1],
      [8, directoryBytes],
      [8, offset],
    ]),
    record(ZIP64_LOCATOR, [
      [4, 0],
      [8, offset + directoryBytes],
      [4, 1],
    ]),
  ];
}

function zip64Extra(values: readonly number[]): Buffer {
  return fields([[2, 0x0001], [2, values.length * 8], ...values.map((value): Field => [8, value])]);
}

/** Info-ZIP's "extended timestamp": seconds in UTC, where the DOS fields know only local time in steps of two. */
function timestampExtra(mtime: Date): Buffer {
  return fields([
    [2, 0x5455],
    [2, 5],
    [1, 1],
    [4, Math.floor(mtime.getTime() / 1000)],
  ]);
}

function dosTime(mtime: Date): { date: number; time: number } {
  const date = ((mtime.getFullYear() - 1980) << 9) | ((mtime.getMonth() + 1) << 5) | mtime.getDate();
  const time = (mtime.getHours() << 11) | (mtime.getMinutes() << 5) | (mtime.getSeconds() >> 1);
  return { date, time };
}

/** Width in bytes and value; little endian. */
type Field = readonly [width: 1 | 2 | 4 | 8, value: number];

function record(signature: number, values: readonly Field[]): Buffer {
  return fields([[4, signature], ...values]);
}

function fields(values: readonly Field[]): Buffer {
  const bytes = Buffer.alloc(values.reduce((sum, [width]) => sum + width, 0));
  let at = 0;
  for (const [width, value] of values) {
    if (width === 8) bytes.writeBigUInt64LE(BigInt(value), at);
    else bytes.writeUIntLE(value, at, width);
    at += width;
  }
  return bytes;
}
