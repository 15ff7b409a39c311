import type { FileHandle } from 'node:fs/promises';
import { orAborted } from '../errors.ts';

/** Often enough that little is left for the end, seldom enough to cost nothing; see ADR 4. */
const EVERY_BYTES = 64 * 1024 * 1024;

/**
 * Sends a growing file to its disk while it is written, so that the last fsync is short. A disk tells of a page that it lost
 * only once, to whichever call comes next: what any of them told holds to the end.
 */
export class SteadySync {
  readonly #file: Pick<FileHandle, 'datasync' | 'sync'>;
  readonly #everyBytes: number;
  #since = 0;
  #running: Promise<void> | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(file: Pick<FileHandle, 'datasync' | 'sync'>, everyBytes = EVERY_BYTES) {
    this.#file = file;
    this.#everyBytes = everyBytes;
  }

  /** Whether the disk still works for a call that nobody waits for: closing the file would wait for it. */
  get busy(): boolean {
    return this.#running !== undefined;
  }

  /** Told of each write; waits for nothing. @throws system errors of a sync that has ended */
  wrote(bytes: number): void {
    this.#since += bytes;
    this.#check();
    if (this.#running !== undefined || this.#since < this.#everyBytes) return;
    this.#since = 0;
    void this.#begin(this.#file.datasync());
  }

  /**
   * Resolves when all that was written is on the disk. When the signal fires the wait ends, the work of the disk does not.
   * @throws system errors, and the reason of the signal
   */
  async finish(signal: AbortSignal): Promise<void> {
    await orAborted(this.#running ?? Promise.resolve(), signal);
    this.#check();
    await orAborted(this.#begin(this.#file.sync()), signal);
    this.#check();
  }

  /** Never rejects. */
  #begin(sync: Promise<void>): Promise<void> {
    const running = sync
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#running = undefined;
      });
    this.#running = running;
    return running;
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
