import { describe, expect, it } from 'vitest';
import { backoffMs } from './backoff.ts';

const AT_MOST = 1 - Number.EPSILON;

describe('backoffMs', () => {
  it.each([
    [1, 5],
    [2, 10],
    [3, 20],
    [16, 163_840],
    [17, 300_000],
    [18, 300_000],
    [5000, 300_000],
    [Number.POSITIVE_INFINITY, 300_000],
  ])('waits, after failure %i in a row, from half of %i ms to all of it', (failures, most) => {
    expect(backoffMs(failures, 0)).toBe(most / 2);
    expect(backoffMs(failures, 0.5)).toBe(most * 0.75);
    expect(backoffMs(failures, AT_MOST)).toBeCloseTo(most, 6);
  });

  it('takes other bounds', () => {
    const bounds = { baseMs: 250, capMs: 30_000 };
    expect([1, 2, 7, 8, 9].map((failures) => backoffMs(failures, 0, bounds) * 2)).toEqual([
      250, 500, 16_000, 30_000, 30_000,
    ]);
  });
});
