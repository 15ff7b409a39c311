import { describe, expect, it } from 'vitest';
import { parseQuantity } from './quantity.ts';

describe('parseQuantity', () => {
  it.each<[string | number, number | undefined]>([
    ['2891808', 2_891_808],
    [2_891_808, 2_891_808],
    ['3M', 3_000_000],
    ['600k', 600_000],
    ['2824Ki', 2_891_776],
    ['1.5Gi', 1_610_612_736],
    ['1e3', 1000],
    ['12E2', 1200],
    ['2E', 2e18],
    ['1500m', 2],
    ['0', 0],
    ['', undefined],
    ['many', undefined],
    ['1KB', undefined],
  ])('reads %j as %j', (quantity, bytes) => {
    expect(parseQuantity(quantity)).toBe(bytes);
  });
});
