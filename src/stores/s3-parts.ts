import { abortError, orAborted } from '../errors.ts';
import type { SnapshotBytes } from '../snapshot/ports.ts';

const MIB = 1024 * 1024;
const MAX_PARTS = 10_000;
export const DEFAULT_PART_SIZE = 8 * MIB;

/** Bytes per part: `wanted`, or whole MiB more when a snapshot of that size would need more than 10,000 parts. */
export function partSizeFor(expectedSize: number, wanted: number): number {
  const least = Math.ceil(expectedSize / MAX_PARTS / MIB) * MIB;
  return Math.max(wanted, least);
}

export interface Part {
  readonly number: number;
  readonly body: Buffer;
  /** Gives the memory of `body` back; it must not be used any more. */
  release(): void;
}

/**
 * Cuts growing bytes into parts, in memory of our own that is used again and again: never more than `buffers` parts at a
 * time. Slices of what the SDK or a stream allocates would pin whole slabs. It is shared memory, so that another thread
 * can sum it up without a copy.
 */
export class PartReader {
  readonly #bytes: SnapshotBytes;
  readonly #partSize: number;
  readonly #free: Buffer[] = [];
  #left: number;
  #position = 0;
  #number = 0;
  #ended = false;
  #released = Promise.withResolvers<void>();

  constructor(bytes: SnapshotBytes, partSize: number, buffers: number) {
    this.#bytes = bytes;
    this.#partSize = partSize;
    this.#left = buffers;
  }

  /** Bytes handed out so far. */
  get position(): number {
    return this.#position;
  }

  /** The next part, as soon as it is there in full; undefined after the last one. One call at a time. */
  async next(signal: AbortSignal): Promise<Part | undefined> {
    if (this.#ended) return undefined;
    const buffer = await this.#take(signal);
    let filled: number;
    try {
      filled = await this.#bytes.read(buffer, this.#position, signal);
    } catch (error) {
      this.#give(buffer);
      throw error;
    }
    this.#position += filled;
    this.#ended = filled < this.#partSize;
    if (filled === 0) {
      this.#give(buffer);
      return undefined;
    }
    this.#number += 1;
    return { number: this.#number, body: buffer.subarray(0, filled), release: () => this.#give(buffer) };
  }

  async #take(signal: AbortSignal): Promise<Buffer> {
    for (;;) {
      if (signal.aborted) throw abortError(signal);
      const free = this.#free.pop();
      if (free !== undefined) return free;
      if (this.#left > 0) {
        this.#left -= 1;
        return Buffer.from(new SharedArrayBuffer(this.#partSize));
      }
      await orAborted(this.#released.promise, signal);
    }
  }

  #give(buffer: Buffer): void {
    this.#free.push(buffer);
    this.#released.resolve();
    this.#released = Promise.withResolvers<void>();
  }
}
