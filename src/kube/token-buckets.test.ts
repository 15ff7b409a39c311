import { expect, it } from 'vitest';
import { TokenBuckets } from './token-buckets.ts';

let now = 0;
const buckets = (keys = 10) => {
  now = 0;
  return new TokenBuckets({ burst: 3, refillMs: 100, keys, monotonic: () => now });
};
const taken = (from: TokenBuckets, key: string, times: number) =>
  Array.from({ length: times }, () => from.take(key)).filter(Boolean).length;

it('gives a burst, and then one token per refill, up to the burst', () => {
  const one = buckets();
  expect(taken(one, 'a', 5)).toBe(3);
  now = 99;
  expect(taken(one, 'a', 5)).toBe(0);
  now = 100;
  expect(taken(one, 'a', 5)).toBe(1);
  now = 10_000;
  expect(taken(one, 'a', 5)).toBe(3);
});

it('keeps a bucket for each key', () => {
  const one = buckets();
  expect(taken(one, 'a', 5)).toBe(3);
  expect(taken(one, 'b', 5)).toBe(3);
});

it('forgets the bucket that was asked longest ago', () => {
  const one = buckets(2);
  for (const key of ['a', 'b', 'a', 'c']) taken(one, key, 5);
  expect(taken(one, 'a', 5)).toBe(0);
  expect(taken(one, 'b', 5)).toBe(3);
});
