import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { IntegrityCheck, plausibleSnapshotSize } from './integrity.ts';

function snapshotOf(pages: number): Buffer {
  const database = Buffer.alloc(pages * 512, 'etcd');
  return Buffer.concat([database, createHash('sha256').update(database).digest()]);
}

function inSlices(bytes: Buffer, size: number): Buffer[] {
  const slices: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size) slices.push(bytes.subarray(at, at + size));
  return slices;
}

describe('IntegrityCheck', () => {
  it.each([1, 7, 31, 32, 33, 511, 512, 4096, 1_000_000])(
    'accepts a snapshot in slices of %i bytes',
    (size) => {
      const check = new IntegrityCheck();
      const whole = snapshotOf(9);
      for (const slice of inSlices(whole, size)) check.update([slice, Buffer.alloc(0)]);
      expect(() => check.finish(whole.length)).not.toThrow();
      expect(check.bytes).toBe(whole.length);
    },
  );

  it('is not confused by a caller that reuses its buffer', () => {
    const check = new IntegrityCheck();
    const whole = snapshotOf(3);
    const reused = Buffer.alloc(40);
    for (const slice of inSlices(whole, 40)) check.update([reused.subarray(0, slice.copy(reused))]);
    expect(() => check.finish(whole.length)).not.toThrow();
  });

  it.each([0, 700, 512 * 9, 512 * 9 + 31])('refuses a flipped bit at byte %i', (at) => {
    const whole = snapshotOf(9);
    whole[at] = (whole[at] ?? 0) ^ 1;
    const check = new IntegrityCheck();
    check.update(inSlices(whole, 100));
    expect(() => check.finish(whole.length)).toThrowError(expect.objectContaining({ code: 'corrupt' }));
  });

  it('refuses fewer bytes than announced, even when hash and size fit', () => {
    const whole = snapshotOf(9);
    const check = new IntegrityCheck();
    check.update([whole]);
    expect(() => check.finish(whole.length + 512)).toThrowError(
      expect.objectContaining({ code: 'corrupt', why: 'etcd announced 5152 bytes and sent 4640' }),
    );
  });

  it.each([[Buffer.alloc(0)], [Buffer.alloc(32)], [Buffer.alloc(545)]])(
    'refuses a size that no snapshot has',
    (bytes) => {
      const check = new IntegrityCheck();
      check.update([bytes]);
      expect(() => check.finish(bytes.length)).toThrowError(expect.objectContaining({ code: 'corrupt' }));
    },
  );
});

describe('plausibleSnapshotSize', () => {
  it('holds for the size in the seed', () => {
    expect(plausibleSnapshotSize(2_891_808)).toBe(true);
    expect(plausibleSnapshotSize(32)).toBe(false);
    expect(plausibleSnapshotSize(2_891_809)).toBe(false);
  });
});
