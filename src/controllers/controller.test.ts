import { describe, expect, it, onTestFinished } from 'vitest';
import { fakeTimers } from '../../test/support/fake-clock.ts';
import { SnapshotError } from '../errors.ts';
import type { Reconcile } from '../reconcilers/reconciler.ts';
import { pause } from '../timers.ts';
import { createController } from './controller.ts';

type Outcome = readonly [key: string, error: string | undefined, seconds: number];

function scene(reconcile: Reconcile, workers = 1) {
  const timers = fakeTimers();
  const abort = new AbortController();
  const runs: number[] = [];
  const outcomes: Outcome[] = [];
  const controller = createController({
    name: 'test',
    timers,
    random: () => 0,
    workers,
    reconcile: (key, signal) => {
      runs.push(timers.monotonic());
      return reconcile(key, signal);
    },
    onOutcome: (key, error, seconds) => outcomes.push([key, error?.message, seconds]),
  });
  /** Runs for the rest of the test. */
  const begin = () => {
    const run = controller.run(abort.signal);
    onTestFinished(async () => {
      abort.abort();
      await run;
    });
  };
  return { timers, controller, abort, begin, runs, outcomes };
}

const away = () => new SnapshotError('unavailable', 'nobody is there', { retryable: true });

describe('a controller', () => {
  it('reconciles a key once, and tells how it went and how long it took', async () => {
    const { timers, controller, begin, outcomes } = scene(async (_, signal) => {
      await pause(timers, 1500, signal);
      return undefined;
    });
    controller.enqueue('a');
    expect([controller.name, controller.depth, controller.busy]).toEqual(['test', 1, false]);
    begin();
    await timers.advance(1000);
    expect([controller.depth, controller.busy]).toEqual([0, true]);
    await timers.advance(3_600_000);
    expect(outcomes).toEqual([['a', undefined, 1.5]]);
    expect(controller.busy).toBe(false);
  });

  it('comes back when the reconciler asks for it', async () => {
    const { timers, controller, begin, runs } = scene(async () => ({ requeueAfterMs: 100 }));
    begin();
    controller.enqueueAfter('a', 7);
    await timers.advance(250);
    expect(runs).toEqual([7, 107, 207]);
  });

  it('comes back sooner and then later after failures, and from the start after a success', async () => {
    const results = [away, away, away, undefined, away];
    const { timers, controller, begin, runs, outcomes } = scene(async () => {
      const result = results.shift();
      if (result !== undefined) throw result();
      return undefined;
    });
    begin();
    controller.enqueue('a');
    await timers.advance(1000);
    expect(runs).toEqual([0, 2.5, 7.5, 17.5]);
    controller.enqueue('a');
    await timers.advance(1000);
    expect(runs.slice(4)).toEqual([1000, 1002.5]);
    expect(outcomes.map(([, error]) => error)).toEqual([
      'nobody is there',
      'nobody is there',
      'nobody is there',
      undefined,
      'nobody is there',
      undefined,
    ]);
  });

  it('takes what is no error of ours as one that may pass', async () => {
    const { timers, controller, begin, outcomes } = scene(() => Promise.reject(new TypeError('a bug')));
    begin();
    controller.enqueue('a');
    await timers.advance(10);
    expect(outcomes).toEqual([
      ['a', 'a bug', 0],
      ['a', 'a bug', 0],
      ['a', 'a bug', 0],
    ]);
  });

  it('waits the longest time after a failure that only a change can cure, and not at all for the change', async () => {
    const { timers, controller, begin, runs } = scene(() => Promise.reject(new SnapshotError('usage', 'no')));
    begin();
    controller.enqueue('a');
    await timers.advance(149_999);
    expect(runs).toEqual([0]);
    await timers.advance(1);
    expect(runs).toEqual([0, 150_000]);
    controller.enqueue('a');
    await timers.advance(0);
    expect(runs).toEqual([0, 150_000, 150_000]);
  });

  it.each(['unauthenticated', 'forbidden'] as const)('comes back soon after a refusal: %s', async (code) => {
    const { timers, controller, begin, runs } = scene(() => Promise.reject(new SnapshotError(code, 'no')));
    begin();
    controller.enqueue('a');
    await timers.advance(20);
    expect(runs).toEqual([0, 2.5, 7.5, 17.5]);
  });

  it('goes on with other keys while one fails', async () => {
    const { timers, controller, begin, outcomes } = scene(async (key) => {
      if (key === 'bad') throw new SnapshotError('forbidden', 'no');
      return undefined;
    });
    begin();
    for (const key of ['bad', 'good', 'better']) controller.enqueue(key);
    await timers.advance(0);
    expect(outcomes.map(([key, error]) => [key, error])).toEqual([
      ['bad', 'no'],
      ['good', undefined],
      ['better', undefined],
    ]);
  });

  it('neither counts nor forgets what the end cut short: the next run does it at once', async () => {
    const { timers, controller, abort, outcomes, runs } = scene(async (_, signal) => {
      await pause(timers, 1000, signal);
      return undefined;
    });
    controller.enqueue('a');
    const first = controller.run(abort.signal);
    await timers.advance(10);
    abort.abort();
    await first;
    expect(outcomes).toEqual([]);
    expect(controller.depth).toBe(1);
    const again = new AbortController();
    const second = controller.run(again.signal);
    await timers.advance(1000);
    expect(runs).toEqual([0, 10]);
    expect(outcomes).toEqual([['a', undefined, 1]]);
    again.abort();
    await second;
  });

  it('reconciles as many keys at a time as it has workers', async () => {
    const { timers, controller, begin, runs } = scene(async (_, signal) => {
      await pause(timers, 100, signal);
      return undefined;
    }, 2);
    for (const key of ['a', 'b', 'c']) controller.enqueue(key);
    begin();
    await timers.advance(150);
    expect(runs).toEqual([0, 0, 100]);
    await timers.advance(100);
  });
});
