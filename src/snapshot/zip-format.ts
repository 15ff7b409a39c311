/** The records of a zip with one entry, as PKWARE's APPNOTE 6.3 lays them out. Little-endian throughout. */

const MAX_32 = 0xffff_ffff;
const VERSION_DEFLATE = 20;
const VERSION_ZIP64 = 45;
const MADE_BY_UNIX = 3 << 8;
/** Bit 3: sizes and CRC follow the data. Bit 11: the name is UTF-8. */
const FLAGS = (1 << 3) | (1 << 11);
const METHOD_DEFLATE = 8;
/** A regular file that only its owner reads and writes, in Unix' place of the external attributes. */
const ATTRIBUTES = (0o100600 << 16) >>> 0;
const ID_ZIP64 = 0x0001;
const ID_TIMESTAMP = 0x5455;
const TIMESTAMP_HAS_MTIME = 1;

export interface ZipEntry {
  readonly name: string;
  readonly mtime: Date;
  /** Decided before the sizes are known: whether they take 8 bytes. */
  readonly zip64: boolean;
}

export interface EntryTotals {
  readonly crc: number;
  readonly size: number;
  readonly compressedSize: number;
}

/** Whether a size or offset needs the zip64 records; the largest 32-bit number itself is the mark for "see there". */
export function needsZip64(bytes: number): boolean {
  return bytes >= MAX_32;
}

export function localHeader(entry: ZipEntry): Buffer {
  const name = Buffer.from(entry.name);
  const extra = Buffer.concat([entry.zip64 ? zip64Sizes(0, 0) : Buffer.alloc(0), timestamp(entry.mtime)]);
  const head = Buffer.alloc(30);
  head.writeUInt32LE(0x04034b50, 0);
  writeShared(head, 4, entry, { crc: 0, size: 0, compressedSize: 0 });
  head.writeUInt16LE(name.length, 26);
  head.writeUInt16LE(extra.length, 28);
  return Buffer.concat([head, name, extra]);
}

export function dataDescriptor(entry: ZipEntry, totals: EntryTotals): Buffer {
  const record = Buffer.alloc(entry.zip64 ? 24 : 16);
  record.writeUInt32LE(0x08074b50, 0);
  record.writeUInt32LE(totals.crc, 4);
  if (entry.zip64) {
    record.writeBigUInt64LE(BigInt(totals.compressedSize), 8);
    record.writeBigUInt64LE(BigInt(totals.size), 16);
  } else {
    record.writeUInt32LE(totals.compressedSize, 8);
    record.writeUInt32LE(totals.size, 12);
  }
  return record;
}

/** Central directory and everything behind it. @param offset bytes of the file before it */
export function directory(entry: ZipEntry, totals: EntryTotals, offset: number): Buffer {
  const name = Buffer.from(entry.name);
  const sizes = entry.zip64 ? zip64Sizes(totals.size, totals.compressedSize) : Buffer.alloc(0);
  const extra = Buffer.concat([sizes, timestamp(entry.mtime)]);
  const head = Buffer.alloc(46);
  head.writeUInt32LE(0x02014b50, 0);
  head.writeUInt16LE(MADE_BY_UNIX | versionOf(entry), 4);
  writeShared(head, 6, entry, totals);
  head.writeUInt16LE(name.length, 28);
  head.writeUInt16LE(extra.length, 30);
  head.writeUInt32LE(ATTRIBUTES, 38);
  const central = Buffer.concat([head, name, extra]);
  return Buffer.concat([central, ends(central.length, offset)]);
}

/** The fields that both headers have in the same order, from "version needed" to the uncompressed size. */
function writeShared(head: Buffer, at: number, entry: ZipEntry, totals: EntryTotals): void {
  head.writeUInt16LE(versionOf(entry), at);
  head.writeUInt16LE(FLAGS, at + 2);
  head.writeUInt16LE(METHOD_DEFLATE, at + 4);
  head.writeUInt32LE(dosTime(entry.mtime), at + 6);
  head.writeUInt32LE(totals.crc, at + 10);
  head.writeUInt32LE(entry.zip64 ? MAX_32 : totals.compressedSize, at + 14);
  head.writeUInt32LE(entry.zip64 ? MAX_32 : totals.size, at + 18);
}

function ends(length: number, offset: number): Buffer {
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(1, 8);
  end.writeUInt16LE(1, 10);
  end.writeUInt32LE(length, 12);
  end.writeUInt32LE(Math.min(offset, MAX_32), 16);
  if (!needsZip64(offset)) return end;
  const end64 = Buffer.alloc(56);
  end64.writeUInt32LE(0x06064b50, 0);
  end64.writeBigUInt64LE(BigInt(end64.length - 12), 4);
  end64.writeUInt16LE(MADE_BY_UNIX | VERSION_ZIP64, 12);
  end64.writeUInt16LE(VERSION_ZIP64, 14);
  end64.writeBigUInt64LE(1n, 24);
  end64.writeBigUInt64LE(1n, 32);
  end64.writeBigUInt64LE(BigInt(length), 40);
  end64.writeBigUInt64LE(BigInt(offset), 48);
  const locator = Buffer.alloc(20);
  locator.writeUInt32LE(0x07064b50, 0);
  locator.writeBigUInt64LE(BigInt(offset + length), 8);
  locator.writeUInt32LE(1, 16);
  return Buffer.concat([end64, locator, end]);
}

function versionOf(entry: ZipEntry): number {
  return entry.zip64 ? VERSION_ZIP64 : VERSION_DEFLATE;
}

function zip64Sizes(size: number, compressedSize: number): Buffer {
  const extra = Buffer.alloc(20);
  extra.writeUInt16LE(ID_ZIP64, 0);
  extra.writeUInt16LE(16, 2);
  extra.writeBigUInt64LE(BigInt(size), 4);
  extra.writeBigUInt64LE(BigInt(compressedSize), 12);
  return extra;
}

/** Info-ZIP's extended timestamp: the moment itself, where the DOS time is local and of two seconds. */
function timestamp(mtime: Date): Buffer {
  const extra = Buffer.alloc(9);
  extra.writeUInt16LE(ID_TIMESTAMP, 0);
  extra.writeUInt16LE(5, 2);
  extra.writeUInt8(TIMESTAMP_HAS_MTIME, 4);
  extra.writeUInt32LE(Math.floor(mtime.getTime() / 1000) >>> 0, 5);
  return extra;
}

/** Time in the lower half, date in the upper one; DOS knows the years 1980 to 2107. */
function dosTime(moment: Date): number {
  const year = moment.getFullYear();
  if (year < 1980) return ((1 << 5) | 1) << 16;
  const date = (Math.min(year - 1980, 127) << 9) | ((moment.getMonth() + 1) << 5) | moment.getDate();
  const time = (moment.getHours() << 11) | (moment.getMinutes() << 5) | (moment.getSeconds() >> 1);
  return ((date << 16) | time) >>> 0;
}
