import { describe, expect, it, onTestFinished } from 'vitest';
import { fakeTimers } from '../../test/support/fake-clock.ts';
import { WorkQueue } from './work-queue.ts';

interface Work {
  readonly key: string;
  readonly at: number;
  readonly signal: AbortSignal;
  readonly end: () => void;
}

/** A queue whose work ends when the test says so, or at once. What still runs when the test ends is ended with it. */
function scene({ workers = 1, random = 0.5, hold = false } = {}) {
  const timers = fakeTimers();
  const queue = new WorkQueue({ timers, random: () => random });
  const begun: Work[] = [];
  const abort = new AbortController();
  const handle = async (key: string, signal: AbortSignal) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    begun.push({ key, at: timers.monotonic(), signal, end: resolve });
    if (hold) await promise;
  };
  const start = (signal = abort.signal) => queue.run(workers, handle, signal);
  const runs: Promise<void>[] = [];
  onTestFinished(async () => {
    abort.abort();
    for (const { end } of begun) end();
    await Promise.all(runs);
  });
  /** As `start`, for the rest of the test. */
  const begin = () => void runs.push(start());
  return { timers, queue, begun, abort, start, begin, keys: () => begun.map(({ key }) => key) };
}

describe('WorkQueue', () => {
  it('works on keys in the order in which they came, one by one', async () => {
    const { timers, queue, keys, begin } = scene();
    begin();
    for (const key of ['c', 'a', 'b']) queue.add(key);
    await timers.advance(0);
    expect(keys()).toEqual(['c', 'a', 'b']);
  });

  it('keeps keys that came before it runs', async () => {
    const { timers, queue, keys, begin } = scene();
    queue.add('a');
    queue.addAfter('b', 50);
    await timers.advance(20);
    expect([queue.size, queue.delayed, timers.waiting]).toEqual([1, 1, 0]);
    begin();
    await timers.advance(29);
    expect(keys()).toEqual(['a']);
    await timers.advance(1);
    expect(keys()).toEqual(['a', 'b']);
  });

  it('takes equal keys that wait as one', async () => {
    const { timers, queue, keys, begin } = scene();
    for (const key of ['a', 'b', 'a', 'a']) queue.add(key);
    expect(queue.size).toBe(2);
    begin();
    await timers.advance(0);
    expect(keys()).toEqual(['a', 'b']);
  });

  it('never works on a key twice at a time, and once more when it was added meanwhile', async () => {
    const { timers, queue, begun, keys, begin } = scene({ workers: 4, hold: true });
    begin();
    queue.add('a');
    await timers.advance(0);
    queue.add('a');
    queue.add('a');
    await timers.advance(10);
    expect(keys()).toEqual(['a']);
    expect(queue.size).toBe(1);
    begun[0]?.end();
    await timers.advance(10);
    expect(keys()).toEqual(['a', 'a']);
    expect([queue.size, queue.running]).toEqual([0, 1]);
    begun[1]?.end();
    await timers.advance(10);
    expect(begun).toHaveLength(2);
  });

  it('has as many keys in work as it has workers', async () => {
    const { timers, queue, begun, keys, begin } = scene({ workers: 2, hold: true });
    begin();
    for (const key of ['a', 'b', 'c']) queue.add(key);
    await timers.advance(0);
    expect(keys()).toEqual(['a', 'b']);
    begun[1]?.end();
    await timers.advance(0);
    expect(keys()).toEqual(['a', 'b', 'c']);
    begun[0]?.end();
    begun[2]?.end();
  });

  it('lets the earliest time win, whichever was said last', async () => {
    const { timers, queue, begun, begin } = scene();
    begin();
    queue.addAfter('sooner later', 100);
    queue.addAfter('sooner later', 30);
    queue.addAfter('later sooner', 40);
    queue.addAfter('later sooner', 200);
    queue.addAfter('now', 500);
    queue.add('now');
    queue.addAfter('past', -1);
    await timers.advance(1000);
    expect(begun.map(({ key, at }) => [key, at])).toEqual([
      ['now', 0],
      ['past', 0],
      ['sooner later', 30],
      ['later sooner', 40],
    ]);
  });

  it('needs no later time for a key that waits already', async () => {
    const { timers, queue, begun, keys, begin } = scene({ hold: true });
    begin();
    queue.add('a');
    queue.add('b');
    queue.add('a');
    for (const key of ['a', 'b']) queue.addAfter(key, 10);
    expect(queue.delayed).toBe(0);
    for (let at = 0; at < 3; at += 1) {
      await timers.advance(100);
      begun[at]?.end();
    }
    await timers.advance(100);
    expect(keys()).toEqual(['a', 'b', 'a']);
  });

  it('comes back later to a key that is in work and was not added meanwhile', async () => {
    const { timers, queue, begun, begin } = scene({ hold: true });
    begin();
    queue.add('a');
    await timers.advance(0);
    queue.addAfter('a', 10);
    await timers.advance(50);
    expect(begun).toHaveLength(1);
    begun[0]?.end();
    await timers.advance(0);
    expect(begun.map(({ at }) => at)).toEqual([0, 50]);
    begun[1]?.end();
  });

  it('does not wait for a time that passed while everything was frozen', async () => {
    const { timers, queue, begun, begin } = scene();
    begin();
    queue.addAfter('a', 60_000);
    timers.freeze(3_600_000);
    await timers.advance(0);
    expect(begun.map(({ at }) => at)).toEqual([3_600_000]);
  });

  describe('after failures', () => {
    it('waits longer each time', async () => {
      const { timers, queue, begun, begin } = scene({ random: 0 });
      begin();
      for (let failure = 0; failure < 3; failure += 1) {
        queue.retry('a');
        await timers.advance(1000);
      }
      expect(begun.map(({ at }) => at)).toEqual([2.5, 1005, 2010]);
    });

    it('begins anew for a key that did well, and for no other', async () => {
      const { timers, queue, begun, begin } = scene({ random: 0 });
      begin();
      for (const key of ['a', 'b']) {
        for (let failure = 0; failure < 3; failure += 1) {
          queue.retry(key);
          await timers.advance(1000);
        }
      }
      queue.forget('a');
      const from = timers.monotonic();
      begun.length = 0;
      queue.retry('a');
      queue.retry('b');
      await timers.advance(1000);
      expect(begun.map(({ key, at }) => [key, at - from])).toEqual([
        ['a', 2.5],
        ['b', 20],
      ]);
    });

    it('takes the longest wait at once when told to go slowly', async () => {
      const { timers, queue, keys, begin } = scene({ random: 0 });
      begin();
      queue.retry('a', 'slowly');
      await timers.advance(149_999);
      expect(keys()).toEqual([]);
      await timers.advance(1);
      expect(keys()).toEqual(['a']);
    });

    it('does not let a wait delay a key that changed', async () => {
      const { timers, queue, begun, begin } = scene();
      begin();
      queue.retry('a', 'slowly');
      await timers.advance(10);
      queue.add('a');
      await timers.advance(300_000);
      expect(begun.map(({ at }) => at)).toEqual([10]);
    });
  });

  describe('when it is to end', () => {
    it('begins nothing new, tells what was begun, and waits for it', async () => {
      const { timers, queue, begun, keys, abort, start } = scene({ hold: true });
      let ended = false;
      const done = start().then(() => {
        ended = true;
      });
      queue.add('a');
      queue.add('b');
      queue.addAfter('c', 10);
      await timers.advance(0);
      abort.abort();
      queue.add('d');
      await timers.advance(100);
      expect(keys()).toEqual(['a']);
      expect([ended, begun[0]?.signal.aborted]).toEqual([false, true]);
      begun[0]?.end();
      await done;
      expect(keys()).toEqual(['a']);
      expect(timers.waiting).toBe(0);
    });

    it('keeps what waits for the next run, each at its time', async () => {
      const { timers, queue, begun, keys, abort, start } = scene({ hold: true });
      const first = start();
      queue.add('in work');
      queue.add('ready');
      queue.addAfter('later', 100);
      await timers.advance(0);
      queue.add('in work');
      abort.abort();
      begun[0]?.end();
      await first;
      expect(timers.waiting).toBe(0);

      await timers.advance(50);
      const again = new AbortController();
      const second = start(again.signal);
      await timers.advance(0);
      begun[1]?.end();
      await timers.advance(0);
      begun[2]?.end();
      await timers.advance(49);
      expect(keys()).toEqual(['in work', 'ready', 'in work']);
      await timers.advance(1);
      expect(keys()).toEqual(['in work', 'ready', 'in work', 'later']);
      begun[3]?.end();
      again.abort();
      await second;
    });

    it('ends at once when nothing is in work, and under a signal that has fired', async () => {
      const { abort, start } = scene();
      const done = start();
      abort.abort();
      await done;
      await start();
    });
  });

  it('ends with the error of work that must not fail, once the rest has ended', async () => {
    const timers = fakeTimers();
    const queue = new WorkQueue({ timers, random: () => 0 });
    const { promise, resolve } = Promise.withResolvers<void>();
    const begun: string[] = [];
    for (const key of ['slow', 'broken', 'never']) queue.add(key);
    const outcome = queue
      .run(
        2,
        async (key) => {
          begun.push(key);
          if (key === 'broken') throw new Error('a bug');
          await promise;
        },
        new AbortController().signal,
      )
      .catch((error: unknown) => error);
    await timers.advance(0);
    resolve();
    expect(await outcome).toEqual(new Error('a bug'));
    expect(begun).toEqual(['slow', 'broken']);
  });

  it('runs once at a time', async () => {
    const { start, begin } = scene();
    begin();
    await expect(start()).rejects.toThrow(/runs already/);
  });
});
