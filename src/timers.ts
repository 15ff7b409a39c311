import { abortError } from './errors.ts';
import type { Clock } from './snapshot/ports.ts';

/** Longest single wait. Node's own timers end at 24.8 days, and fire at once beyond that. */
const SLICE_MS = 3_600_000;

/** Time as everything that waits is given it, so that a test can drive it (`test/support/fake-clock.ts`). */
export interface Timers extends Clock {
  /** Milliseconds from some fixed moment. Never jumps, unlike `now`, which follows whoever sets the clock. */
  monotonic(): number;
  /**
   * Calls `run` once, no sooner than `ms` from now on the monotonic clock, and never before `after` has returned.
   * Disposing cancels it, and does nothing once it has run. `run` must not throw.
   */
  after(ms: number, run: () => void): Disposable;
}

/** The clocks of this machine. A timer keeps the process alive until it has run or is disposed of. */
export const systemTimers: Timers = {
  now: () => new Date(),
  monotonic: () => performance.now(),
  after(ms, run) {
    const due = performance.now() + ms;
    let timer: NodeJS.Timeout;
    const arm = () => {
      const left = Math.max(0, Math.ceil(due - performance.now()));
      timer = setTimeout(() => (performance.now() < due ? arm() : run()), Math.min(left, SLICE_MS));
    };
    arm();
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
};

/** Resolves after `ms`, or as soon as the signal fires: for loops that look at the signal themselves. */
export function rest(timers: Timers, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const end = () => {
      timer[Symbol.dispose]();
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = timers.after(ms, end);
    signal.addEventListener('abort', end, { once: true });
  });
}

/** Resolves after `ms`. @throws SnapshotError `aborted` at once when the signal fires */
export async function pause(timers: Timers, ms: number, signal: AbortSignal): Promise<void> {
  await rest(timers, ms, signal);
  if (signal.aborted) throw abortError(signal);
}
