const NEWLINE = 0x0a;

/**
 * Whole lines of text without their ends; empty ones are left out.
 * @throws Error with code `LINE_TOO_LONG` | `LINE_CUT`: the bytes end in the middle of a line
 */
export async function* linesOf(chunks: AsyncIterable<Buffer>, maxBytes: number): AsyncGenerator<string> {
  let parts: Buffer[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(NEWLINE, start);
      const part = chunk.subarray(start, end < 0 ? undefined : end);
      size += part.length;
      if (size > maxBytes) throw lineError('LINE_TOO_LONG', `it sent a line of more than ${maxBytes} bytes`);
      if (part.length > 0) parts.push(part);
      if (end < 0) break;
      start = end + 1;
      if (size > 0) yield Buffer.concat(parts).toString();
      parts = [];
      size = 0;
    }
  }
  if (size > 0) throw lineError('LINE_CUT', 'its answer ended in the middle of a line');
}

function lineError(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}

/** Fires its signal when nothing is heard for so long. A consumer that takes its time is not silence. */
export class SilenceTimer implements Disposable {
  readonly #longestMs: number;
  readonly #silent = new AbortController();
  #timer: NodeJS.Timeout;

  /** Listens from now on. */
  constructor(longestMs: number) {
    this.#longestMs = longestMs;
    this.#timer = this.#start();
  }

  get signal(): AbortSignal {
    return this.#silent.signal;
  }

  async *whileHeard<T>(chunks: AsyncIterable<T>): AsyncGenerator<T> {
    for await (const chunk of chunks) {
      clearTimeout(this.#timer);
      yield chunk;
      this.#timer = this.#start();
    }
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  #start(): NodeJS.Timeout {
    return setTimeout(() => this.#silent.abort(), this.#longestMs);
  }
}
