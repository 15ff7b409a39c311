import { crc32 } from 'node:zlib';

const BLOCK = 1024 * 1024;

/** A run of blocks, from its first byte to its last, as it was when it was looked up. */
export interface WrittenRange {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  /** Whether these are the bytes that were written from `start` to `end`. */
  matches(bytes: Uint8Array): boolean;
}

/** A sum of each MiB of a file, taken from memory as it is written: so that a page that the disk or its cache spoils is seen when it is read. */
export class WrittenSums {
  readonly #full: number[] = [];
  #last = 0;
  #lastBytes = 0;

  /** The next bytes of the file. */
  add(chunk: Uint8Array): void {
    let rest = chunk;
    while (rest.length > 0) {
      const piece = rest.subarray(0, BLOCK - this.#lastBytes);
      this.#last = crc32(piece, this.#last);
      this.#lastBytes += piece.length;
      rest = rest.subarray(piece.length);
      if (this.#lastBytes < BLOCK) continue;
      this.#full.push(this.#last);
      this.#last = 0;
      this.#lastBytes = 0;
    }
  }

  /** The whole blocks that hold these bytes, of those written so far: what must be read to prove them. */
  around(position: number, length: number): WrittenRange {
    const written = this.#full.length * BLOCK + this.#lastBytes;
    const first = Math.floor(position / BLOCK);
    const start = Math.min(first * BLOCK, written);
    const end = Math.min(Math.ceil((position + length) / BLOCK) * BLOCK, written);
    const sums = [...this.#full.slice(first), this.#last];
    return {
      start,
      end,
      matches: (bytes) =>
        bytes.length === end - start &&
        sums
          .slice(0, Math.ceil((end - start) / BLOCK))
          .every((sum, at) => crc32(bytes.subarray(at * BLOCK, (at + 1) * BLOCK)) === sum),
    };
  }
}
