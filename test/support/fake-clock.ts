import { setImmediate } from 'node:timers/promises';
import type { Timers } from '../../src/timers.ts';

export interface FakeTimers extends Timers {
  /**
   * Lets time pass: what falls due runs in order of its time, each at its own time, and promises settle in between.
   * `advance(0)` only lets things settle.
   */
  advance(ms: number): Promise<void>;
  /** Time passes while nothing can run, as under SIGSTOP; what fell due meanwhile runs late, at the next `advance`. */
  freeze(ms: number): void;
  /** Somebody sets the clock on the wall, and only that one. */
  setClock(to: Date): void;
  /** How many timers wait. */
  readonly waiting: number;
}

interface Waiting {
  readonly due: number;
  readonly run: () => void;
}

export function fakeTimers(start: string | Date = '2024-10-30T17:20:16Z'): FakeTimers {
  let elapsed = 0;
  let offset = new Date(start).getTime();
  const waiting = new Set<Waiting>();

  const earliest = (until: number): Waiting | undefined => {
    let first: Waiting | undefined;
    for (const one of waiting) {
      if (one.due <= until && (first === undefined || one.due < first.due)) first = one;
    }
    return first;
  };

  return {
    now: () => new Date(offset + elapsed),
    monotonic: () => elapsed,
    after(ms, run) {
      const one = { due: elapsed + Math.max(0, ms), run };
      waiting.add(one);
      return { [Symbol.dispose]: () => waiting.delete(one) };
    },
    async advance(ms) {
      const until = elapsed + ms;
      await setImmediate();
      for (let next = earliest(until); next !== undefined; next = earliest(until)) {
        elapsed = Math.max(elapsed, next.due);
        waiting.delete(next);
        next.run();
        await setImmediate();
      }
      elapsed = until;
    },
    freeze(ms) {
      elapsed += ms;
    },
    setClock(to) {
      offset = to.getTime() - elapsed;
    },
    get waiting() {
      return waiting.size;
    },
  };
}
