import { randomBytes } from 'node:crypto';
import { type FileHandle, link, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { abortError, SnapshotError, systemCode } from '../errors.ts';
import type { NewSnapshot, SnapshotDraft, StoredSnapshot } from '../snapshot/ports.ts';
import type { SnapshotFacts } from '../snapshot/snapshot.ts';
import { syncFolder } from './atomic-write.ts';
import { fromDiskError } from './disk-errors.ts';

/** Hidden, so that no lister takes it, and named after its snapshot, so that it tells whose leftover it is. */
export function temporaryName(name: string): string {
  return `.${name}.${randomBytes(4).toString('hex')}.part`;
}

/** The name of the snapshot that a temporary file was to become, or undefined when it is none of ours. */
export function nameOfTemporary(file: string): string | undefined {
  return /^\.(.+)\.[0-9a-f]{8}\.part$/.exec(file)?.[1];
}

/** A snapshot file under its temporary name. */
export class LocalDraft implements SnapshotDraft {
  readonly expectedSize: number;
  readonly proven: Promise<number>;
  readonly #dir: string;
  readonly #name: string;
  readonly #temporary: string;
  readonly #file: FileHandle;
  readonly #stored: (facts: SnapshotFacts, size: number) => Promise<StoredSnapshot>;
  readonly #settle: { resolve: (size: number) => void; reject: (reason: Error) => void };
  #written = 0;
  #state: 'growing' | 'proven' | 'named' | 'discarded' = 'growing';
  #reason: Error | undefined;
  #readers = 0;
  #closing = false;
  /** Wakes the readers that wait for bytes. */
  #changed = Promise.withResolvers<void>();

  private constructor(
    dir: string,
    snapshot: NewSnapshot,
    temporary: string,
    file: FileHandle,
    stored: (facts: SnapshotFacts, size: number) => Promise<StoredSnapshot>,
  ) {
    this.expectedSize = snapshot.expectedSize;
    this.#dir = dir;
    this.#name = snapshot.name;
    this.#temporary = temporary;
    this.#file = file;
    this.#stored = stored;
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    this.proven = promise;
    this.#settle = { resolve, reject };
    // A save without followers has nobody who waits for the proof.
    void Promise.allSettled([promise]);
  }

  /** @param stored describes the finished file and writes what belongs beside it */
  static async create(
    dir: string,
    snapshot: NewSnapshot,
    stored: (facts: SnapshotFacts, size: number) => Promise<StoredSnapshot>,
  ): Promise<LocalDraft> {
    const temporary = join(dir, temporaryName(snapshot.name));
    try {
      return new LocalDraft(dir, snapshot, temporary, await open(temporary, 'wx+', 0o600), stored);
    } catch (error) {
      throw await fromDiskError(
        `Cannot begin the snapshot ${snapshot.name}`,
        dir,
        error,
        snapshot.expectedSize,
      );
    }
  }

  async write(chunks: readonly Uint8Array[]): Promise<void> {
    let rest = chunks;
    try {
      while (rest.length > 0) {
        const { bytesWritten } = await this.#file.writev([...rest], this.#written);
        this.#written += bytesWritten;
        this.#wake();
        rest = after(rest, bytesWritten);
      }
    } catch (error) {
      throw await fromDiskError(
        `Cannot write the snapshot ${this.#name}`,
        this.#dir,
        error,
        this.expectedSize,
      );
    }
  }

  async read(into: Uint8Array, position: number, signal: AbortSignal): Promise<number> {
    this.#readers += 1;
    try {
      let filled = 0;
      while (filled < into.length) {
        if (signal.aborted) throw abortError(signal);
        if (this.#reason !== undefined) throw this.#reason;
        const available = Math.min(into.length - filled, this.#written - position - filled);
        if (available > 0) {
          const { bytesRead } = await this.#file.read(into, filled, available, position + filled);
          filled += bytesRead;
        } else if (this.#state === 'growing') {
          await this.#change(signal);
        } else {
          break;
        }
      }
      return filled;
    } finally {
      this.#readers -= 1;
      await this.#closeWhenUnused();
    }
  }

  prove(): void {
    if (this.#state !== 'growing') return;
    this.#state = 'proven';
    this.#settle.resolve(this.#written);
    this.#wake();
  }

  async commit(facts: SnapshotFacts): Promise<StoredSnapshot> {
    const doing = `Cannot finish the snapshot ${this.#name}`;
    try {
      const { size } = await this.#file.stat();
      if (this.#state !== 'proven' || size !== this.#written) {
        throw new SnapshotError('corrupt', doing, {
          why: `${this.#written} bytes were written, the file has ${size}`,
        });
      }
      await this.#file.sync();
      // Unlike rename, link never replaces a snapshot that is there already.
      await link(this.#temporary, join(this.#dir, this.#name));
      this.#state = 'named';
      await rm(this.#temporary);
      await syncFolder(this.#dir);
    } catch (error) {
      if (systemCode(error) === 'EEXIST') throw this.#exists(error);
      throw await fromDiskError(doing, this.#dir, error, this.expectedSize);
    }
    return this.#stored(facts, this.#written);
  }

  async discard(reason: Error): Promise<void> {
    if (this.#state !== 'named' && this.#state !== 'discarded') {
      this.#state = 'discarded';
      this.#reason = reason;
      this.#settle.reject(reason);
      this.#wake();
      await rm(this.#temporary, { force: true });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.discard(new SnapshotError('aborted', `The snapshot ${this.#name} was given up`));
    this.#closing = true;
    await this.#closeWhenUnused();
  }

  async #closeWhenUnused(): Promise<void> {
    if (!this.#closing || this.#readers > 0) return;
    this.#closing = false;
    await this.#file.close();
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }

  async #change(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const onAbort = () => resolve();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await Promise.race([this.#changed.promise, promise]);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  #exists(cause: unknown): SnapshotError {
    return new SnapshotError('exists', `There is already a snapshot called ${this.#name}`, {
      why: `${join(this.#dir, this.#name)} exists and is never overwritten`,
      hint: 'Wait a second and save again, or choose another --name.',
      retryable: true,
      cause,
    });
  }
}

/** What is left of the chunks after so many bytes of them were written. */
function after(chunks: readonly Uint8Array[], written: number): readonly Uint8Array[] {
  let skip = written;
  for (const [at, chunk] of chunks.entries()) {
    if (skip < chunk.length) return [chunk.subarray(skip), ...chunks.slice(at + 1)];
    skip -= chunk.length;
  }
  return [];
}
