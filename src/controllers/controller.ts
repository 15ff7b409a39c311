import { asError, isSnapshotError } from '../errors.ts';
import type { Reconcile } from '../reconcilers/reconciler.ts';
import { WorkQueue, type WorkQueueOptions } from './work-queue.ts';

export interface ControllerOptions extends WorkQueueOptions {
  /** For metrics and messages. */
  readonly name: string;
  readonly reconcile: Reconcile;
  /** Keys worked on at a time; 1 unless given. */
  readonly workers?: number;
  /** Told after each run of `reconcile` that was not cut short by the signal. Must not throw. */
  readonly onOutcome?: (key: string, error: Error | undefined, seconds: number) => void;
}

export interface Controller {
  readonly name: string;
  /** To be reconciled at once. May be called at any time; keys wait for `run`. */
  enqueue(key: string): void;
  /** To be reconciled after `ms`, unless it is due sooner already. */
  enqueueAfter(key: string, ms: number): void;
  /** Reconciles until the signal fires, which `reconcile` sees too; resolves when the last one has ended. May run again later. */
  run(signal: AbortSignal): Promise<void>;
  /** Whether a key is being reconciled right now. */
  readonly busy: boolean;
  /** Keys that wait to be reconciled at once. */
  readonly depth: number;
}

/**
 * A queue and what is done with its keys. Success forgets earlier failures; a failure that only a change can cure
 * (`retryable` false) waits the longest time, any other one a growing time; a change enqueues the key anyway. Of a right or
 * a credential that is put in order elsewhere nobody tells us, and an API server that starts refuses for a moment.
 */
export function createController(options: ControllerOptions): Controller {
  const { name, reconcile, timers, workers = 1, onOutcome = () => {} } = options;
  const queue = new WorkQueue(options);

  const handle = async (key: string, signal: AbortSignal): Promise<void> => {
    const begun = timers.monotonic();
    let failure: Error | undefined;
    try {
      const result = await reconcile(key, signal);
      queue.forget(key);
      if (result?.requeueAfterMs !== undefined) queue.addAfter(key, result.requeueAfterMs);
    } catch (error) {
      if (signal.aborted) {
        queue.add(key);
        return;
      }
      failure = asError(error);
      queue.retry(key, isHopeless(failure) ? 'slowly' : 'soon');
    }
    onOutcome(key, failure, (timers.monotonic() - begun) / 1000);
  };

  return {
    name,
    enqueue: (key) => queue.add(key),
    enqueueAfter: (key, ms) => queue.addAfter(key, ms),
    run: (signal) => queue.run(workers, handle, signal),
    get busy() {
      return queue.running > 0;
    },
    get depth() {
      return queue.size;
    },
  };
}

function isHopeless(failure: Error): boolean {
  if (!isSnapshotError(failure) || failure.retryable) return false;
  return !isSnapshotError(failure, 'unauthenticated', 'forbidden');
}
