import { SnapshotError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import { type Readiness, reasonOf } from '../ops/readiness.ts';
import type { Timers } from '../timers.ts';

export interface EndingParts {
  /** The operator is told to end. */
  readonly stop: AbortSignal;
  /** A snapshot that runs may go on for so long. */
  readonly gracePeriodMs: number;
  readonly readiness: Readiness;
  readonly logger: Logger;
  readonly timers: Timers;
}

/** Says, when the operator is told to end, that it does; `over` fires when what still runs then has had its time. */
export function watchEnding(parts: EndingParts): Disposable & { readonly over: AbortSignal } {
  const { stop, gracePeriodMs, readiness, logger, timers } = parts;
  const running = new AbortController();
  let grace: Disposable | undefined;
  const giveUp = () => {
    const over = new SnapshotError('aborted', 'The snapshot was ended', {
      why: 'the operator was told to end, and the grace period is over',
      hint: 'Give it more time with --grace-period, and the pod with terminationGracePeriodSeconds.',
    });
    logger.error({ reason: reasonOf(over) }, 'What still runs is given up');
    running.abort(over);
  };
  const onStop = () => {
    logger.info({ graceSeconds: gracePeriodMs / 1000 }, 'Ending: a running snapshot may finish');
    readiness.set('process', { ready: false, reason: 'is told to end' });
    grace = timers.after(gracePeriodMs, giveUp);
  };
  stop.addEventListener('abort', onStop, { once: true });
  return {
    over: running.signal,
    [Symbol.dispose]: () => grace?.[Symbol.dispose](),
  };
}
