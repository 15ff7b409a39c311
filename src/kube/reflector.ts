import { abortError, asError, isSnapshotError, SnapshotError } from '../errors.ts';
import { rest, type Timers } from '../timers.ts';
import { isExpired } from './api-errors.ts';
import {
  type Collection,
  type CollectionEvent,
  type CollectionOptions,
  type KubeObject,
  openCollection,
} from './collection.ts';
import {
  type Indexes,
  type ObjectCache,
  type ObjectChange,
  type VersionedObject,
  WritableObjectCache,
} from './object-cache.ts';

const PAGE_SIZE = 500;
/** Jitter keeps the watches of many clients apart. */
const WATCH_SECONDS = { least: 290, jitter: 30 } as const;
/** After so long a watch that has ended is followed by a listing. Jitter as above. */
const RELIST_MS = { least: 3_600_000, jitter: 600_000 } as const;
/** A watch that told nothing and ended sooner has failed, however politely. */
const STEADY_MS = 5_000;
const BACKOFF = { firstMs: 250, maxMs: 30_000, maxWhileAbsentMs: 5_000 } as const;

export interface ReflectorState {
  /** Whether the cache holds the whole collection, as of now or of when `error` began. */
  readonly synced: boolean;
  /** What keeps the cache from being kept in step; `not-found` while the server does not know the resource. */
  readonly error?: SnapshotError;
}

export interface ReflectorOptions<Raw extends KubeObject, T, I extends string = never>
  extends CollectionOptions {
  /** What the cache keeps of an object: the less the better. An object that it throws for is left out. */
  readonly transform: (raw: Raw) => T;
  readonly indexes?: Indexes<T, I>;
  readonly timers: Timers;
  /** 0 ≤ x < 1 */
  readonly random: () => number;
  /** Objects per request of a listing; 500 unless given. */
  readonly pageSize?: number;
  /**
   * Told each change when the cache has it. An object that was deleted and made again between two listings has changed.
   * What it throws is told as an error, and stops nothing.
   */
  readonly onChange: (name: string, now: T | undefined, before: T | undefined) => void;
  /** Told when the state becomes another. Must not throw. */
  readonly onState: (state: ReflectorState) => void;
  readonly signal: AbortSignal;
}

export interface Reflector<T, I extends string = never> {
  readonly cache: ObjectCache<T, I>;
  /** Resolves after the first whole listing. @throws SnapshotError `aborted` when the signal fires before */
  readonly synced: Promise<void>;
  /** Resolves when the signal has fired and nothing is open any more. */
  readonly stopped: Promise<void>;
}

/**
 * Keeps a copy of a collection in step: lists it, then watches it from that version on. Whatever ends a watch, it goes on
 * from the last version that it heard of, and lists anew when the server cannot tell the changes since, and once an hour: an
 * etcd that was restored from an older snapshot and has overtaken our version by now tells nothing of what it has lost. A
 * resource that the server does not know is an empty collection, until it comes.
 */
export function startReflector<Raw extends KubeObject, T, I extends string = never>(
  options: ReflectorOptions<Raw, T, I>,
): Reflector<T, I> {
  const reflection = new Reflection(options);
  return { cache: reflection.cache, synced: reflection.synced, stopped: reflection.run() };
}

class Reflection<Raw extends KubeObject, T, I extends string> {
  readonly cache: WritableObjectCache<T, I>;
  readonly #options: ReflectorOptions<Raw, T, I>;
  readonly #collection: Collection<Raw>;
  readonly #synced = Promise.withResolvers<void>();
  #state: ReflectorState = { synced: false };
  /** Where to go on; undefined: with a new listing. */
  #version: string | undefined;
  /** On the monotonic clock. */
  #relistAt = Number.NEGATIVE_INFINITY;
  /** In a row. */
  #failures = 0;
  /** Of the watch that runs. */
  #heard = false;
  #openedAt: number | undefined;
  #pageSize: number;

  constructor(options: ReflectorOptions<Raw, T, I>) {
    this.#options = options;
    this.#collection = openCollection(options);
    this.#pageSize = options.pageSize ?? PAGE_SIZE;
    this.cache = new WritableObjectCache(options.indexes ?? ({} as Indexes<T, I>));
    // Nobody has to wait for it.
    void Promise.allSettled([this.#synced.promise]);
  }

  get synced(): Promise<void> {
    return this.#synced.promise;
  }

  async run(): Promise<void> {
    const { signal, timers } = this.#options;
    while (!signal.aborted) {
      this.#heard = false;
      this.#openedAt = undefined;
      const failure = await this.#follow().then(() => undefined, asSnapshotError);
      if (signal.aborted) break;
      const useful = this.#wasUseful();
      if (useful) this.#failures = 0;
      if (failure !== undefined) this.#onFailure(failure);
      if (failure !== undefined || !useful) this.#failures += 1;
      if (this.#failures > 0) await rest(timers, this.#backoffMs(), signal);
    }
    this.#synced.reject(abortError(signal));
  }

  /** Until a watch ends in good order, or in silence. */
  async #follow(): Promise<void> {
    const { timers, random, signal } = this.#options;
    let version = await this.#positionStillThere();
    version ??= await this.#list();
    const seconds = WATCH_SECONDS.least + Math.floor(random() * WATCH_SECONDS.jitter);
    const onOpen = () => {
      this.#openedAt = timers.monotonic();
      this.#tell({ synced: true });
    };
    try {
      for await (const event of this.#collection.watch({ version, seconds, onOpen }, signal)) {
        this.#take(event);
        this.#heard = true;
      }
    } catch (error) {
      // Where nothing has happened since the server began, it sends no bookmarks either. The next question will tell.
      if (!isSnapshotError(error, 'timeout') || this.#openedAt === undefined) throw error;
    }
  }

  /** Whether the watch that has just ended was of use: what was before it then no longer counts. */
  #wasUseful(): boolean {
    const open = this.#openedAt === undefined ? 0 : this.#options.timers.monotonic() - this.#openedAt;
    return this.#heard || open >= STEADY_MS;
  }

  /**
   * The server takes a version of its future for one of now and stays silent until it is reached. That is what ours
   * becomes when etcd is restored from an older snapshot.
   */
  async #positionStillThere(): Promise<string | undefined> {
    const { timers, signal } = this.#options;
    if (this.#version === undefined || timers.monotonic() >= this.#relistAt) return undefined;
    const latest = await this.#collection.version(signal);
    if (isBefore(latest, this.#version)) this.#version = undefined;
    return this.#version;
  }

  /** What has not changed is not taken in again: a second copy of everything would double the memory for nothing. */
  async #list(): Promise<string> {
    const { timers, random } = this.#options;
    const found = new Map<string, VersionedObject<T>>();
    let version = '';
    for await (const page of this.#collection.list(this.#pageSize, this.#options.signal)) {
      for (const raw of page.items) {
        const { name, resourceVersion = '' } = raw.metadata;
        const known = this.cache.entry(name);
        const entry = known?.version === resourceVersion ? known : this.#transform(raw, resourceVersion);
        if (entry !== undefined) found.set(name, entry);
      }
      version = page.version;
    }
    this.#version = version;
    this.#relistAt = timers.monotonic() + RELIST_MS.least + random() * RELIST_MS.jitter;
    this.#pageSize = this.#options.pageSize ?? PAGE_SIZE;
    for (const change of this.cache.replace(found)) this.#report(change);
    this.#tell({ synced: true });
    this.#synced.resolve();
    return version;
  }

  #take(event: CollectionEvent<Raw>): void {
    if (event.type !== 'bookmark') {
      const { name } = event.object.metadata;
      const entry = event.type === 'set' ? this.#transform(event.object, event.version) : undefined;
      this.#report(entry === undefined ? this.cache.remove(name) : this.cache.set(name, entry));
    }
    this.#version = event.version;
  }

  #onFailure(error: SnapshotError): void {
    const listing = this.#version === undefined;
    if (isExpired(error)) {
      this.#version = undefined;
      // The pages took longer than the server remembers: all at once then.
      if (listing) this.#pageSize = Number.POSITIVE_INFINITY;
      return;
    }
    if (error.code === 'protocol') this.#version = undefined;
    if (error.code !== 'not-found') {
      this.#tell({ ...this.#state, error });
      return;
    }
    this.#version = undefined;
    for (const change of this.cache.replace(new Map())) this.#report(change);
    this.#tell({ synced: false, error });
  }

  #backoffMs(): number {
    const absent = this.#state.error?.code === 'not-found';
    const most = absent ? BACKOFF.maxWhileAbsentMs : BACKOFF.maxMs;
    const full = Math.min(BACKOFF.firstMs * 2 ** (this.#failures - 1), most);
    return full * (0.5 + this.#options.random() / 2);
  }

  #transform(raw: Raw, version: string): VersionedObject<T> | undefined {
    try {
      return { object: this.#options.transform(raw), version };
    } catch (error) {
      this.#onFault(raw.metadata.name, error);
      return undefined;
    }
  }

  #report(change: ObjectChange<T> | undefined): void {
    if (change === undefined) return;
    try {
      this.#options.onChange(change.name, change.now, change.before);
    } catch (error) {
      this.#onFault(change.name, error);
    }
  }

  #onFault(name: string, cause: unknown): void {
    const error = new SnapshotError('protocol', `Cannot take in ${this.#options.path}/${name}`, {
      hint: 'Report this: it is a fault of the program.',
      cause,
    });
    this.#tell({ ...this.#state, error });
  }

  #tell(state: ReflectorState): void {
    const before = this.#state;
    this.#state = state;
    const { synced, error } = before;
    if (state.synced !== synced || state.error?.code !== error?.code || state.error?.why !== error?.why) {
      this.#options.onState(state);
    }
  }
}

/** Versions count up in decimal; one that does not is not compared. */
function isBefore(version: string, other: string): boolean {
  const decimal = /^\d+$/;
  return decimal.test(version) && decimal.test(other) && BigInt(version) < BigInt(other);
}

function asSnapshotError(error: unknown): SnapshotError {
  if (isSnapshotError(error)) return error;
  return new SnapshotError('protocol', 'Cannot follow a collection in Kubernetes', {
    cause: asError(error),
  });
}
