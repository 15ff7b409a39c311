import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { WrittenSums } from './written-sums.ts';

const MIB = 1024 * 1024;
const content = randomBytes(2 * MIB + 100);

function sumsOf(bytes: Buffer, step: number): WrittenSums {
  const sums = new WrittenSums();
  for (let at = 0; at < bytes.length; at += step) sums.add(bytes.subarray(at, at + step));
  return sums;
}

it.each([
  { position: 0, length: content.length, start: 0, end: content.length },
  { position: 0, length: MIB, start: 0, end: MIB },
  { position: MIB, length: MIB, start: MIB, end: 2 * MIB },
  { position: MIB - 1, length: 2, start: 0, end: 2 * MIB },
  { position: 2 * MIB + 50, length: 50, start: 2 * MIB, end: content.length },
  { position: content.length, length: 0, start: 2 * MIB, end: content.length },
])('proves $length bytes from $position by the blocks around them', ({ position, length, start, end }) => {
  for (const step of [content.length, 700_001, MIB]) {
    const range = sumsOf(content, step).around(position, length);
    expect(range).toMatchObject({ start, end });
    const bytes = Buffer.from(content.subarray(start, end));
    expect(range.matches(bytes)).toBe(true);
    expect(range.matches(bytes.subarray(1))).toBe(false);
    const last = bytes.length - 1;
    bytes.writeUInt8(bytes.readUInt8(last) ^ 1, last);
    expect(range.matches(bytes)).toBe(false);
  }
});

it('is about what was written when it was asked for, and not about what came after', () => {
  const sums = sumsOf(content.subarray(0, 1000), 1000);
  const range = sums.around(0, 1000);
  sums.add(content.subarray(1000));
  expect(range.matches(content.subarray(0, 1000))).toBe(true);
});
