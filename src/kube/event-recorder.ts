import { asError, isSnapshotError, SnapshotError } from '../errors.ts';
import { rest, type Timers } from '../timers.ts';
import { isObjectMissing } from './api-errors.ts';
import type { KubeClient } from './client.ts';
import {
  type EventSource,
  eventName,
  eventsPath,
  type KubeEvent,
  repeated,
  toEvent,
} from './event-object.ts';
import { FIELD_MANAGER } from './snapshot-files-api.ts';
import { TokenBuckets } from './token-buckets.ts';

/**
 * Equal events within this time are one Event that counts. Looks come again every ten minutes, give or take one, and what
 * is wrong in each of them is one thing that goes on.
 */
const SAME_MS = 1_500_000;
/** Between two warnings of the same kind. */
const WARN_MS = 600_000;
/** As in Kubernetes' own spam filter: 25 different events of one object at once, then one more every 5 minutes. */
const BURST = 25;
const REFILL_MS = 300_000;
/** Objects and events that are remembered. */
const MEMORY = 4096;
/** Events that wait to be written. */
const MAX_PENDING = 1000;
/** The count of an event that goes on happening is written after 10 s, 20 s, … and then every 5 minutes. */
const REPEAT_MS = { first: 10_000, longest: 300_000 } as const;
/** How often an event is tried, and the wait before the second time; each further one is twice as long. */
const TRIES = 7;
const RETRY_MS = 1_000;
const CALL_TIMEOUT_MS = 5_000;

export interface EventRecorderOptions extends EventSource {
  readonly client: Pick<KubeClient, 'request'>;
  readonly timers: Timers;
  /** Told, once per kind of trouble and 10 minutes, that an event is not written, and why. */
  readonly onWarning: (warning: Error) => void;
}

/** Tells in Kubernetes what happened to an object. An API server that is slow or away holds nobody up. */
export interface EventRecorder {
  /** Returns at once and never throws: the event is written later, or dropped with a warning. */
  emit(event: KubeEvent): void;
  /** Tries everything that waits once more, now. Resolves when that is done, or at once with the signal: then the rest is dropped. */
  flush(signal: AbortSignal): Promise<void>;
}

export function createEventRecorder(options: EventRecorderOptions): EventRecorder {
  return new QueueingRecorder(options);
}

interface Entry {
  readonly key: string;
  readonly event: KubeEvent;
  readonly first: Date;
  last: Date;
  /** Of the last time, on the monotonic clock. */
  lastAt: number;
  count: number;
  /** Of the Event. */
  name: string;
  /** Whether the API server has it. */
  exists: boolean;
  /** From the first wish to write it until nothing is left to write. */
  pending: boolean;
  failures: number;
  repeats: number;
}

class QueueingRecorder implements EventRecorder {
  readonly #options: EventRecorderOptions;
  readonly #limits: TokenBuckets;
  /** Those told last come last. */
  readonly #known = new Map<string, Entry>();
  /** To be written now, in this order. */
  readonly #queue = new Set<Entry>();
  /** To be written later. */
  readonly #waiting = new Map<Entry, Disposable>();
  readonly #warned = new Map<string, number>();
  #names = 0;
  #flushes = 0;
  #writing: Promise<void> | undefined;
  /** Ends the wait before the next try. */
  #wake = new AbortController();
  /** Ends the call under way. */
  #cut = new AbortController();

  constructor(options: EventRecorderOptions) {
    const monotonic = () => options.timers.monotonic();
    this.#options = options;
    this.#limits = new TokenBuckets({ burst: BURST, refillMs: REFILL_MS, keys: MEMORY, monotonic });
  }

  emit(event: KubeEvent): void {
    const { timers } = this.#options;
    const { apiVersion, kind, name, namespace, uid } = event.object;
    const object = [apiVersion, kind, namespace, name, uid].join('\n');
    const key = [object, event.type, event.reason, event.message].join('\n');
    const [last, lastAt] = [timers.now(), timers.monotonic()];
    const known = this.#known.get(key);
    if (known !== undefined && lastAt - known.lastAt <= SAME_MS) {
      known.count += 1;
      this.#remember(Object.assign(known, { last, lastAt }));
      if (!known.pending) this.#later(known);
      return;
    }
    if (this.#queue.size + this.#waiting.size >= MAX_PENDING) {
      this.#drop(event, `${MAX_PENDING} others wait to be written`);
    } else if (!this.#limits.take(object)) {
      this.#drop(event, `there were more than ${BURST} different ones of this object lately`);
    } else {
      const fresh = { count: 1, exists: false, pending: false, failures: 0, repeats: 0 };
      const entry: Entry = { key, event, first: last, last, lastAt, name: this.#name(event), ...fresh };
      this.#remember(entry);
      this.#now(entry);
    }
  }

  async flush(signal: AbortSignal): Promise<void> {
    const { promise: aborted, resolve } = Promise.withResolvers<void>();
    const onAbort = () => {
      for (const entry of this.#queue) this.#forget(entry);
      this.#queue.clear();
      this.#cut.abort();
      this.#cut = new AbortController();
      resolve();
    };
    this.#flushes += 1;
    for (const entry of this.#waiting.keys()) this.#now(entry);
    this.#wake.abort();
    this.#wake = new AbortController();
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    await Promise.race([this.#writing, aborted]);
    signal.removeEventListener('abort', onAbort);
    this.#flushes -= 1;
  }

  #remember(entry: Entry): void {
    this.#known.delete(entry.key);
    this.#known.set(entry.key, entry);
    const [oldest] = this.#known.keys();
    if (this.#known.size > MEMORY && oldest !== undefined) this.#known.delete(oldest);
  }

  #now(entry: Entry): void {
    this.#waiting.get(entry)?.[Symbol.dispose]();
    this.#waiting.delete(entry);
    entry.pending = true;
    this.#queue.add(entry);
    this.#writing ??= this.#write();
  }

  #later(entry: Entry): void {
    const ms = Math.min(REPEAT_MS.longest, REPEAT_MS.first * 2 ** entry.repeats);
    entry.repeats += 1;
    entry.pending = true;
    this.#waiting.set(
      entry,
      this.#options.timers.after(ms, () => this.#now(entry)),
    );
  }

  async #write(): Promise<void> {
    // What is emitted in one go then is one write.
    await Promise.resolve();
    for (let [entry] = this.#queue; entry !== undefined; [entry] = this.#queue) {
      const wait = await this.#send(entry);
      if (wait === undefined) this.#queue.delete(entry);
      else if (wait > 0) await rest(this.#options.timers, wait, this.#wake.signal);
    }
    this.#writing = undefined;
  }

  /** Returns undefined when the entry is through, one way or the other, and else how long to wait before the next try. */
  async #send(entry: Entry): Promise<number | undefined> {
    const { client } = this.#options;
    const { signal } = this.#cut;
    const { event, name, count } = entry;
    const path = eventsPath(event.object);
    const common = { query: { fieldManager: FIELD_MANAGER }, timeoutMs: CALL_TIMEOUT_MS, signal };
    try {
      if (entry.exists) {
        const contentType = 'application/merge-patch+json';
        const patch = { method: 'PATCH', path: `${path}/${encodeURIComponent(name)}`, contentType } as const;
        await client.request({ ...common, ...patch, body: repeated(entry) });
      } else {
        const body = toEvent(event, name, this.#options, entry);
        await client.request({ ...common, method: 'POST', path, body });
      }
    } catch (error) {
      return signal.aborted ? this.#forget(entry) : this.#failed(entry, asError(error));
    }
    Object.assign(entry, { exists: true, failures: 0 });
    if (entry.count > count && this.#flushes > 0) return 0;
    entry.pending = false;
    if (entry.count > count) this.#later(entry);
    return undefined;
  }

  #failed(entry: Entry, error: Error): number | undefined {
    if (isSnapshotError(error, 'exists')) {
      // Either an earlier try was done and its answer lost, or somebody else took the name in the same millisecond.
      if (entry.failures > 0) entry.exists = true;
      else entry.name = this.#name(entry.event);
      return 0;
    }
    if (entry.exists && isObjectMissing(error)) {
      Object.assign(entry, { exists: false, name: this.#name(entry.event) });
      return 0;
    }
    entry.failures += 1;
    if (isSnapshotError(error) && error.retryable && entry.failures < TRIES && this.#flushes === 0) {
      return RETRY_MS * 2 ** (entry.failures - 1);
    }
    this.#warn(error);
    return this.#forget(entry);
  }

  #forget(entry: Entry): undefined {
    if (this.#known.get(entry.key) === entry) this.#known.delete(entry.key);
  }

  #name({ object }: KubeEvent): string {
    this.#names += 1;
    return eventName(object.name, this.#options.timers.now(), this.#names);
  }

  #drop({ object, reason }: KubeEvent, why: string): void {
    const what = `The event ${reason} of ${object.kind} ${object.name} is not written`;
    this.#warn(new SnapshotError('busy', what, { why, retryable: true }));
  }

  #warn(error: Error): void {
    const kind = isSnapshotError(error) ? error.code : error.name;
    const now = this.#options.timers.monotonic();
    if (now - (this.#warned.get(kind) ?? Number.NEGATIVE_INFINITY) < WARN_MS) return;
    this.#warned.set(kind, now);
    this.#options.onWarning(error);
  }
}
