import { randomBytes } from 'node:crypto';
import { inflateRawSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { maxZipSize, zipOneEntry } from './archive.ts';

const never = new AbortController().signal;
const mtime = new Date('2024-10-30T17:20:16Z');

async function* inBatches(bytes: Buffer, size: number): AsyncGenerator<Buffer[]> {
  for (let at = 0; at < bytes.length; at += size) yield [bytes.subarray(at, at + size), Buffer.alloc(0)];
}

async function zip(bytes: Buffer, batch = 100_000, expectedSize = bytes.length): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  const entry = { name: 'on-demand-n-1730308816', mtime, expectedSize };
  for await (const part of zipOneEntry(inBatches(bytes, batch), entry, never)) chunks.push(...part);
  return Buffer.concat(chunks);
}

/** The entry's bytes, found as a reader does who goes through the file from the front. */
function entryOf(archive: Buffer): Buffer {
  const from = 30 + archive.readUInt16LE(26) + archive.readUInt16LE(28);
  return inflateRawSync(archive.subarray(from));
}

const mebibyte = 1024 * 1024;

describe('zipOneEntry', () => {
  it.each([
    ['nothing', Buffer.alloc(0)],
    ['one byte', Buffer.from('x')],
    ['less than a block', Buffer.alloc(70_000, 'abc')],
    ['exactly one block', randomBytes(mebibyte)],
    ['exactly six blocks', Buffer.alloc(6 * mebibyte, 'kubernetes')],
    [
      'blocks and a rest',
      Buffer.concat([randomBytes(3 * mebibyte), Buffer.alloc(mebibyte, 'z'), randomBytes(17)]),
    ],
  ])('keeps %s', async (_what, bytes) => {
    const archive = await zip(bytes);
    expect(entryOf(archive).equals(bytes)).toBe(true);
    expect(archive.length).toBeLessThanOrEqual(maxZipSize(bytes.length));
  });

  it('compresses across blocks as well as within', async () => {
    const block = randomBytes(16 * 1024);
    const archive = await zip(Buffer.concat(Array.from({ length: 256 }, () => block)));
    expect(archive.length).toBeLessThan(4 * mebibyte * 0.1);
  });

  it('looks back as far as deflate can where that pays, and finds out again when the bytes change', async () => {
    // Base64 repeats nothing, so the narrow window is taken; what follows repeats itself further back than that one sees.
    const unlike = Buffer.from(randomBytes(0.75 * mebibyte).toString('base64'));
    const block = randomBytes(20 * 1024);
    const repeated = Buffer.concat(Array.from({ length: 52 }, () => block)).subarray(0, mebibyte);
    const alone = await zip(Buffer.concat(Array.from({ length: 40 }, () => repeated)));
    expect(alone.length).toBeLessThan(4 * mebibyte);
    const bytes = Buffer.concat([
      ...Array.from({ length: 5 }, () => unlike),
      ...Array.from({ length: 40 }, () => repeated),
    ]);
    const archive = await zip(bytes);
    expect(entryOf(archive).equals(bytes)).toBe(true);
    // Blocks 5 to about 36 are seen through the narrow window, the others not.
    expect(archive.length).toBeGreaterThan(24 * mebibyte);
    expect(archive.length).toBeLessThan(38 * mebibyte);
  });

  it('passes on what its source throws', async () => {
    const source = (async function* () {
      yield [Buffer.alloc(10)];
      throw new Error('the snapshot is damaged');
    })();
    const entry = { name: 'n', mtime, expectedSize: 10 };
    const drain = async () => {
      for await (const _part of zipOneEntry(source, entry, never));
    };
    await expect(drain()).rejects.toThrow('the snapshot is damaged');
  });

  it('ends when it is aborted', async () => {
    const abort = new AbortController();
    const endless = (async function* () {
      for (;;) yield [Buffer.alloc(mebibyte)];
    })();
    const drain = async () => {
      for await (const _part of zipOneEntry(endless, { name: 'n', mtime, expectedSize: 10 }, abort.signal))
        abort.abort();
    };
    await expect(drain()).rejects.toMatchObject({ code: 'aborted' });
  });

  it('ends when it is aborted while its source hangs', async () => {
    const abort = new AbortController();
    const hanging = (async function* () {
      yield [Buffer.alloc(10)];
      await new Promise(() => undefined);
    })();
    const drain = async () => {
      for await (const _part of zipOneEntry(hanging, { name: 'n', mtime, expectedSize: 10 }, abort.signal));
    };
    setImmediate(() => abort.abort());
    await expect(drain()).rejects.toMatchObject({ code: 'aborted' });
  });

  it('lets its source end when the reader stops early', async () => {
    let ended = false;
    const source = (async function* () {
      try {
        for (;;) yield [randomBytes(mebibyte)];
      } finally {
        ended = true;
      }
    })();
    let parts = 0;
    for await (const _part of zipOneEntry(source, { name: 'n', mtime, expectedSize: 10 }, never)) {
      parts += 1;
      if (parts === 3) break;
    }
    expect(ended).toBe(true);
  });
});
