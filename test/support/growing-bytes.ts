import { createHash, randomBytes } from 'node:crypto';
import { abortError } from '../../src/errors.ts';
import type { SnapshotBytes } from '../../src/snapshot/ports.ts';

/** Bytes in memory that a test lets grow as it likes, in place of a file that is being written. */
export class GrowingBytes implements SnapshotBytes {
  readonly expectedSize: number;
  readonly proven: Promise<number>;
  readonly content: Buffer;
  #grown = 0;
  #end: { size: number } | { error: Error } | undefined;
  #changed = Promise.withResolvers<void>();
  readonly #proof = Promise.withResolvers<number>();

  constructor(content: Buffer) {
    this.content = content;
    this.expectedSize = content.length;
    this.proven = this.#proof.promise;
    void Promise.allSettled([this.proven]);
  }

  static whole(content: Buffer): GrowingBytes {
    const bytes = new GrowingBytes(content);
    bytes.grow(content.length);
    bytes.prove();
    return bytes;
  }

  /** Lets so many more bytes be read. */
  grow(bytes: number): void {
    this.#grown = Math.min(this.#grown + bytes, this.content.length);
    this.#wake();
  }

  prove(): void {
    this.#end = { size: this.#grown };
    this.#proof.resolve(this.#grown);
    this.#wake();
  }

  fail(error: Error): void {
    this.#end = { error };
    this.#proof.reject(error);
    this.#wake();
  }

  async read(into: Uint8Array, position: number, signal: AbortSignal): Promise<number> {
    for (;;) {
      if (signal.aborted) throw abortError(signal);
      if (this.#end !== undefined && 'error' in this.#end) throw this.#end.error;
      if (this.#grown >= position + into.length || this.#end !== undefined) {
        return this.content.copy(into, 0, position, Math.min(this.#grown, position + into.length));
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      signal.addEventListener('abort', () => resolve(), { once: true });
      await Promise.race([this.#changed.promise, promise]);
    }
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}

export const MIB = 1024 * 1024;

/** Random, so that no two parts are alike. */
export function someBytes(size: number): Buffer {
  return randomBytes(size);
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
