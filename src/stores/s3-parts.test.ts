import { expect, it } from 'vitest';
import type { SnapshotBytes } from '../snapshot/ports.ts';
import { etagOfParts } from './s3-multipart.ts';
import { PartReader, partSizeFor } from './s3-parts.ts';

const MIB = 1024 * 1024;
const never = new AbortController().signal;

function bytesOf(content: Buffer): SnapshotBytes {
  return {
    expectedSize: content.length,
    proven: Promise.resolve(content.length),
    read: async (into, position) => content.copy(into, 0, position, position + into.length),
  };
}

it.each([
  { expected: 0, size: 8 * MIB },
  { expected: 600 * MIB, size: 8 * MIB },
  { expected: 80_000 * MIB, size: 8 * MIB },
  { expected: 80_000 * MIB + 1, size: 9 * MIB },
  { expected: 500_000 * MIB, size: 50 * MIB },
])('$expected bytes go in parts of $size', ({ expected, size }) => {
  expect(partSizeFor(expected, 8 * MIB)).toBe(size);
  expect(Math.ceil(expected / size)).toBeLessThanOrEqual(10_000);
});

it.each([
  { length: 0, parts: [] },
  { length: 3, parts: ['abc'] },
  { length: 4, parts: ['abcd'] },
  { length: 9, parts: ['abcd', 'efgh', 'i'] },
])('cuts $length bytes', async ({ length, parts }) => {
  const reader = new PartReader(bytesOf(Buffer.from('abcdefghi').subarray(0, length)), 4, 1);
  const seen: string[] = [];
  for (let part = await reader.next(never); part !== undefined; part = await reader.next(never)) {
    seen.push(part.body.toString());
    part.release();
  }
  expect(seen).toEqual(parts);
  expect(reader.position).toBe(length);
  expect(await reader.next(never)).toBeUndefined();
});

it('never uses more memory than it may', async () => {
  const reader = new PartReader(bytesOf(Buffer.alloc(40)), 4, 2);
  const first = await reader.next(never);
  await reader.next(never);
  const third = reader.next(never);
  first?.release();
  expect((await third)?.body.buffer).toBe(first?.body.buffer);
});

it('waits for memory no longer than it should', async () => {
  const reader = new PartReader(bytesOf(Buffer.alloc(40)), 4, 1);
  await reader.next(never);
  const interrupt = new AbortController();
  const next = reader.next(interrupt.signal);
  interrupt.abort();
  await expect(next).rejects.toMatchObject({ code: 'aborted' });
});

it('knows the ETag of an object made of parts', () => {
  const parts = [
    { ETag: '"5d41402abc4b2a76b9719d911017c592"' },
    { ETag: '7d793037a0760186574b0282f2f435e7' },
  ];
  expect(etagOfParts(parts)).toBe('"065947336a2f2a95ba8899f3675c3be6-2"');
  expect(etagOfParts([{ ETag: '"not an MD5"' }])).toBeUndefined();
  expect(etagOfParts([{}])).toBeUndefined();
});
