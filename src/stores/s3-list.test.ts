import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { mapLimited } from './s3-list.ts';

const numbers = (count: number) => Array.from({ length: count }, (_, at) => at);

describe('mapLimited', () => {
  it('keeps the order and the limit', async () => {
    let running = 0;
    let most = 0;
    const results = await mapLimited(numbers(20), 4, async (item) => {
      running += 1;
      most = Math.max(most, running);
      if (item % 2 === 0) await turn();
      running -= 1;
      return item * 10;
    });
    expect(results).toEqual(numbers(20).map((item) => item * 10));
    expect(most).toBe(4);
  });

  it('begins nothing new after the first failure', async () => {
    const begun: number[] = [];
    const all = mapLimited(numbers(100), 4, async (item) => {
      begun.push(item);
      await turn();
      if (item === 1) throw new Error('refused');
    });
    await expect(all).rejects.toThrow('refused');
    const before = begun.length;
    for (const _ of numbers(50)) await turn();
    expect(begun.length).toBe(before);
    expect(before).toBeLessThan(10);
  });

  it('has nothing to do for nothing', async () => {
    expect(await mapLimited([], 8, async () => 1)).toEqual([]);
  });
});
