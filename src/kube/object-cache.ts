/** Objects of one collection by `metadata.name`, as they were last heard of. `I` names its indexes. */
export interface ObjectCache<T, I extends string = never> {
  readonly size: number;
  get(name: string): T | undefined;
  /** In no particular order. The cache may change while it is walked: what is read then is either state of it. */
  all(): Iterable<T>;
  /** Those for which the index gives that key. */
  by(index: I, key: string): readonly T[];
  /** The keys under which that index files objects now. */
  keys(index: I): Iterable<string>;
}

/** What an index files an object under; undefined keeps it out. */
export type Indexes<T, I extends string> = Readonly<Record<I, (object: T) => string | undefined>>;

/** One object that came, went or changed: `now` is missing when it is gone, `before` when it is new. */
export interface ObjectChange<T> {
  readonly name: string;
  readonly now: T | undefined;
  readonly before: T | undefined;
}

export interface VersionedObject<T> {
  readonly object: T;
  /** `metadata.resourceVersion`: two of the same version are the same. */
  readonly version: string;
}

/** The writing side, for whoever keeps it in step. Writes return what they changed; an equal version changes nothing. */
export class WritableObjectCache<T, I extends string = never> implements ObjectCache<T, I> {
  readonly #entries = new Map<string, VersionedObject<T>>();
  readonly #keyOf: Indexes<T, I>;
  /** Names by index and key. */
  readonly #filed = new Map<string, Map<string, Set<string>>>();

  constructor(indexes: Indexes<T, I>) {
    this.#keyOf = indexes;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(name: string): T | undefined {
    return this.#entries.get(name)?.object;
  }

  /** As it was set. */
  entry(name: string): VersionedObject<T> | undefined {
    return this.#entries.get(name);
  }

  *all(): Generator<T> {
    for (const { object } of this.#entries.values()) yield object;
  }

  by(index: I, key: string): readonly T[] {
    const objects: T[] = [];
    for (const name of this.#filed.get(index)?.get(key) ?? []) {
      const entry = this.#entries.get(name);
      if (entry !== undefined) objects.push(entry.object);
    }
    return objects;
  }

  keys(index: I): Iterable<string> {
    return this.#filed.get(index)?.keys() ?? [];
  }

  set(name: string, entry: VersionedObject<T>): ObjectChange<T> | undefined {
    const before = this.#entries.get(name);
    if (before?.version === entry.version) return undefined;
    if (before !== undefined) this.#unfile(name, before.object);
    this.#entries.set(name, entry);
    this.#file(name, entry.object);
    return { name, now: entry.object, before: before?.object };
  }

  remove(name: string): ObjectChange<T> | undefined {
    const before = this.#entries.get(name);
    if (before === undefined) return undefined;
    this.#unfile(name, before.object);
    this.#entries.delete(name);
    return { name, now: undefined, before: before.object };
  }

  /** Makes the cache equal to `all`. */
  replace(all: ReadonlyMap<string, VersionedObject<T>>): readonly ObjectChange<T>[] {
    const gone = [...this.#entries.keys()].filter((name) => !all.has(name));
    return [
      ...gone.map((name) => this.remove(name)),
      ...Array.from(all, ([name, entry]) => this.set(name, entry)),
    ].filter((change) => change !== undefined);
  }

  #file(name: string, object: T): void {
    for (const [index, key] of this.#keysOf(object)) {
      const keys = this.#filed.get(index) ?? new Map<string, Set<string>>();
      const names = keys.get(key) ?? new Set();
      this.#filed.set(index, keys.set(key, names.add(name)));
    }
  }

  #unfile(name: string, object: T): void {
    for (const [index, key] of this.#keysOf(object)) {
      const names = this.#filed.get(index)?.get(key);
      names?.delete(name);
      if (names?.size === 0) this.#filed.get(index)?.delete(key);
    }
  }

  *#keysOf(object: T): Generator<[string, string]> {
    for (const index in this.#keyOf) {
      const key = this.#keyOf[index](object);
      if (key !== undefined) yield [index, key];
    }
  }
}
