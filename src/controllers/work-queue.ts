import type { Timers } from '../timers.ts';
import { type Backoff, backoffMs } from './backoff.ts';

export interface WorkQueueOptions {
  readonly timers: Timers;
  /** From 0 up to, but not including, 1. */
  readonly random: () => number;
  /** Waits of `retry`. */
  readonly backoff?: Backoff;
}

interface Delayed {
  /** On the monotonic clock. */
  readonly due: number;
  /** Only while the queue runs. */
  readonly timer: Disposable | undefined;
}

/** One run of the queue: who works, and how to say that nobody does any more. */
interface Run {
  readonly workers: number;
  readonly handle: (key: string, signal: AbortSignal) => Promise<void>;
  readonly signal: AbortSignal;
  readonly drained: () => void;
  failure?: { readonly error: unknown };
}

/**
 * Keys to work on. Equal keys that wait are one; a key is never worked on twice at a time, and once more after it was added
 * while it was. Keys may be added before, between and after runs: they wait for the next one, and nothing keeps the process
 * alive meanwhile.
 */
export class WorkQueue {
  readonly #options: WorkQueueOptions;
  /** First come, first served. */
  readonly #ready = new Set<string>();
  readonly #delayed = new Map<string, Delayed>();
  readonly #running = new Set<string>();
  /** Added while they ran. */
  readonly #again = new Set<string>();
  readonly #failures = new Map<string, number>();
  #run: Run | undefined;

  constructor(options: WorkQueueOptions) {
    this.#options = options;
  }

  /** Keys that wait to be worked on at once. */
  get size(): number {
    return this.#ready.size + this.#again.size;
  }

  /** Keys that wait for their time. */
  get delayed(): number {
    return this.#delayed.size;
  }

  /** Keys that are worked on right now. */
  get running(): number {
    return this.#running.size;
  }

  /** To be worked on at once, whatever wait there was. */
  add(key: string): void {
    this.#undelay(key);
    (this.#running.has(key) ? this.#again : this.#ready).add(key);
    this.#pump();
  }

  /** To be worked on after `ms`, unless it is to be worked on sooner already. */
  addAfter(key: string, ms: number): void {
    if (ms <= 0) {
      this.add(key);
      return;
    }
    if (this.#ready.has(key) || this.#again.has(key)) return;
    const due = this.#options.timers.monotonic() + ms;
    const known = this.#delayed.get(key);
    if (known !== undefined && known.due <= due) return;
    this.#undelay(key);
    this.#delay(key, due);
  }

  /** To be worked on again after a failure: each in a row makes it wait longer; `slowly` takes the longest wait at once. */
  retry(key: string, pace: 'soon' | 'slowly' = 'soon'): void {
    const failures = (this.#failures.get(key) ?? 0) + 1;
    this.#failures.set(key, failures);
    const { random, backoff } = this.#options;
    this.addAfter(key, backoffMs(pace === 'slowly' ? Number.POSITIVE_INFINITY : failures, random(), backoff));
  }

  /** The key did well: its next failure is its first. */
  forget(key: string): void {
    this.#failures.delete(key);
  }

  /**
   * Works on keys, `workers` at a time. Once the signal fires nothing new is begun; resolves when what was begun has ended.
   * What still waits then is kept for the next run. `handle` must not reject: if it does, the run ends as if aborted, and rejects.
   */
  async run(
    workers: number,
    handle: (key: string, signal: AbortSignal) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    if (this.#run !== undefined) throw new Error('The queue runs already');
    const { promise, resolve } = Promise.withResolvers<void>();
    const run: Run = { workers, handle, signal, drained: resolve };
    this.#run = run;
    const onAbort = () => this.#pump();
    signal.addEventListener('abort', onAbort, { once: true });
    for (const [key, { due }] of this.#delayed) this.#delay(key, due);
    this.#pump();
    await promise;
    signal.removeEventListener('abort', onAbort);
    if (run.failure !== undefined) throw run.failure.error;
  }

  #pump(): void {
    const run = this.#run;
    if (run === undefined) return;
    if (run.signal.aborted || run.failure !== undefined) {
      if (this.#running.size === 0) this.#stop(run);
      return;
    }
    for (const key of this.#ready) {
      if (this.#running.size >= run.workers) return;
      this.#ready.delete(key);
      this.#running.add(key);
      void this.#work(run, key);
    }
  }

  async #work(run: Run, key: string): Promise<void> {
    try {
      await run.handle(key, run.signal);
    } catch (error) {
      run.failure ??= { error };
    }
    this.#running.delete(key);
    if (this.#again.delete(key)) this.#ready.add(key);
    this.#pump();
  }

  #stop(run: Run): void {
    this.#run = undefined;
    for (const [key, { due, timer }] of this.#delayed) {
      timer?.[Symbol.dispose]();
      this.#delayed.set(key, { due, timer: undefined });
    }
    run.drained();
  }

  #delay(key: string, due: number): void {
    const { timers } = this.#options;
    const timer =
      this.#run === undefined
        ? undefined
        : timers.after(due - timers.monotonic(), () => {
            this.#delayed.delete(key);
            this.add(key);
          });
    this.#delayed.set(key, { due, timer });
  }

  #undelay(key: string): void {
    this.#delayed.get(key)?.timer?.[Symbol.dispose]();
    this.#delayed.delete(key);
  }
}
