/** What arrives, in order, for a test that takes it one by one. */
export class Mailbox<T> {
  readonly #arrived: T[] = [];
  readonly #waiting: ((item: T) => void)[] = [];

  put(item: T): void {
    const taker = this.#waiting.shift();
    if (taker === undefined) this.#arrived.push(item);
    else taker(item);
  }

  /** The first that nobody has taken yet, now or when it comes. */
  take(): Promise<T> {
    if (this.#arrived.length > 0) return Promise.resolve(this.#arrived.shift() as T);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Those that came and were not taken. */
  get left(): readonly T[] {
    return this.#arrived;
  }
}
