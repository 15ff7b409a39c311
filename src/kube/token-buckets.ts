export interface TokenBucketOptions {
  /** Tokens of a full bucket. */
  readonly burst: number;
  /** Until an empty bucket has one token again. */
  readonly refillMs: number;
  /** Buckets that are remembered; the one that was asked longest ago is forgotten first. */
  readonly keys: number;
  /** Milliseconds on a clock that never jumps. */
  readonly monotonic: () => number;
}

/** One bucket of tokens per key; a key that was never asked for has a full one. */
export class TokenBuckets {
  readonly #options: TokenBucketOptions;
  readonly #buckets = new Map<string, { readonly tokens: number; readonly at: number }>();

  constructor(options: TokenBucketOptions) {
    this.#options = options;
  }

  /** Whether the key had a token left, which is gone now. */
  take(key: string): boolean {
    const { burst, refillMs, keys, monotonic } = this.#options;
    const at = monotonic();
    const before = this.#buckets.get(key) ?? { tokens: burst, at };
    const tokens = Math.min(burst, before.tokens + (at - before.at) / refillMs);
    const enough = tokens >= 1;
    this.#buckets.delete(key);
    this.#buckets.set(key, { tokens: enough ? tokens - 1 : tokens, at });
    const [oldest] = this.#buckets.keys();
    if (this.#buckets.size > keys && oldest !== undefined) this.#buckets.delete(oldest);
    return enough;
  }
}
