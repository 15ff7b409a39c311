import type { S3Settings } from '../config/types.ts';
import { SnapshotError } from '../errors.ts';

/** The time of one operation of several steps: each step has `settings.timeoutMs`, and waiting for others costs none. */
export interface OperationClock {
  /** Allows `settings.timeoutMs` from now on. */
  start(): void;
  /** Stops the time while somebody else is waited for, until `start`. */
  pause(): void;
  /** A step is done, the next one begins: as `start`, but not while the time is stopped. */
  step(): void;
}

/** Work that may not take for ever. */
export interface Timed {
  /** Runs work that may take `settings.timeoutMs` in all. @throws SnapshotError `timeout` */
  timed<T>(doing: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T>;
  /** The same, for work that winds its own clock: no time runs before it does. */
  timedByClock<T>(
    doing: string,
    signal: AbortSignal,
    work: (signal: AbortSignal, clock: OperationClock) => Promise<T>,
  ): Promise<T>;
}

export function timedBy(settings: S3Settings): Timed {
  const timedByClock: Timed['timedByClock'] = async (doing, signal, work) => {
    const deadline = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const pause = () => {
      clearTimeout(timer);
      timer = undefined;
    };
    const start = () => {
      clearTimeout(timer);
      timer = setTimeout(() => deadline.abort(tookTooLong(doing, settings)), settings.timeoutMs);
    };
    const step = () => {
      if (timer !== undefined) start();
    };
    try {
      return await work(AbortSignal.any([signal, deadline.signal]), { start, pause, step });
    } finally {
      pause();
    }
  };
  return {
    timedByClock,
    timed: (doing, signal, work) =>
      timedByClock(doing, signal, (inner, time) => {
        time.start();
        return work(inner);
      }),
  };
}

function tookTooLong(doing: string, settings: S3Settings): SnapshotError {
  return new SnapshotError('timeout', doing, {
    why: `${settings.endpoint} needed longer than ${settings.timeoutMs / 1000} s`,
    hint: 'Raise --s3-timeout, or check the network.',
    retryable: true,
  });
}
