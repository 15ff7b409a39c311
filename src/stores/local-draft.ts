import { constants } from 'node:fs';
import { type FileHandle, link, open, rm, unlink } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { abortError, SnapshotError, systemCode } from '../errors.ts';
import type { NewSnapshot, SnapshotDraft, StoredSnapshot } from '../snapshot/ports.ts';
import type { SnapshotFacts } from '../snapshot/snapshot.ts';
import { syncFolder, temporaryPath } from './atomic-write.ts';
import { diskError } from './disk-errors.ts';

/** Writes what belongs beside a snapshot; rejects when it cannot. */
export type WriteSidecar = (name: string, facts: SnapshotFacts) => Promise<void>;

/** Opens a temporary sibling of `path` (0600, never an existing file). @throws system errors */
export async function openDraft(
  path: string,
  snapshot: NewSnapshot,
  writeSidecar: WriteSidecar,
): Promise<SnapshotDraft> {
  const temporary = temporaryPath(path);
  const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const file = await open(temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  return new LocalDraft(file, temporary, path, snapshot, writeSidecar);
}

/**
 * One file from its first byte to its final name. One descriptor serves writer and followers until the draft is disposed
 * of: a follower gets the bytes even when somebody deletes the finished file.
 */
class LocalDraft implements SnapshotDraft {
  readonly expectedSize: number;
  readonly proven: Promise<number>;
  readonly #file: FileHandle;
  readonly #temporary: string;
  readonly #path: string;
  readonly #snapshot: NewSnapshot;
  readonly #writeSidecar: WriteSidecar;
  readonly #proof = Promise.withResolvers<number>();
  #written = 0;
  #state: 'writing' | 'proven' | 'committed' | 'discarded' = 'writing';
  #failure: Error | undefined;
  /** Replaced at each change of what a follower may see. */
  #change = Promise.withResolvers<void>();

  constructor(
    file: FileHandle,
    temporary: string,
    path: string,
    snapshot: NewSnapshot,
    writeSidecar: WriteSidecar,
  ) {
    this.#file = file;
    this.#temporary = temporary;
    this.#path = path;
    this.#snapshot = snapshot;
    this.#writeSidecar = writeSidecar;
    this.expectedSize = snapshot.expectedSize;
    this.proven = this.#proof.promise;
    // A save without followers has nobody who awaits the proof; that it fails is told by `write` and `commit`.
    this.proven.catch(() => undefined);
  }

  async write(chunks: readonly Uint8Array[]): Promise<void> {
    this.#assert('writing');
    let rest = chunks.filter((chunk) => chunk.length > 0);
    try {
      while (rest.length > 0) {
        const { bytesWritten } = await this.#file.writev(rest, this.#written);
        this.#written += bytesWritten;
        rest = after(rest, bytesWritten);
        this.#tell();
      }
    } catch (error) {
      throw await diskError(error, this.#problem(`Cannot write ${this.#path}`));
    }
  }

  async read(into: Uint8Array, position: number, signal: AbortSignal): Promise<number> {
    const wanted = position + into.length;
    while (this.#state === 'writing' && this.#written < wanted && !signal.aborted) await this.#wait(signal);
    if (signal.aborted) throw abortError(signal);
    if (this.#failure !== undefined) throw this.#failure;
    const length = Math.max(0, Math.min(this.#written, wanted) - position);
    if (length === 0) return 0;
    const slice = into.subarray(0, length);
    try {
      await fill(this.#file, slice, position);
    } catch (error) {
      throw this.#failure ?? (await diskError(error, this.#problem(`Cannot read ${this.#path}`)));
    }
    return length;
  }

  prove(): void {
    this.#assert('writing');
    this.#state = 'proven';
    this.#proof.resolve(this.#written);
    this.#tell();
  }

  async commit(facts: SnapshotFacts): Promise<StoredSnapshot> {
    this.#assert('proven');
    try {
      await this.#giveName();
    } catch (error) {
      throw await diskError(error, this.#problem(`Cannot finish ${this.#path}`));
    }
    const { name, nodeName, createdAt, compressed } = this.#snapshot;
    const warnings = await this.#writeSidecar(name, facts).then(
      () => [],
      async (error: unknown) => [
        await diskError(error, { what: `Cannot keep the metadata of ${name}`, path: dirname(this.#path) }),
      ],
    );
    const location = { store: 'local', path: this.#path } as const;
    return {
      snapshot: { ...facts, name, nodeName, createdAt, compressed, size: this.#written, location },
      warnings,
    };
  }

  async discard(reason: SnapshotError | Error): Promise<void> {
    if (this.#state === 'committed' || this.#state === 'discarded') return;
    this.#state = 'discarded';
    this.#failure = reason;
    this.#proof.reject(reason);
    this.#tell();
    // The close waits for the reads under way.
    await this.#file.close();
    await rm(this.#temporary, { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.discard(new SnapshotError('aborted', `${this.#path} was given up`));
    await this.#file.close();
  }

  async #giveName(): Promise<void> {
    const { size } = await this.#file.stat();
    if (size !== this.#written) {
      throw new SnapshotError('corrupt', `${this.#temporary} has changed while it was written`, {
        why: `it has ${size} bytes, and ${this.#written} were written`,
        hint: 'Find out who else writes to the snapshot folder.',
      });
    }
    await this.#file.sync();
    // Unlike a rename, a link never replaces a file.
    await link(this.#temporary, this.#path).catch((error: unknown) => {
      throw systemCode(error) === 'EEXIST' ? taken(this.#path, error) : error;
    });
    try {
      await unlink(this.#temporary);
      await syncFolder(dirname(this.#path));
    } catch (error) {
      await rm(this.#path, { force: true });
      throw error;
    }
    this.#state = 'committed';
  }

  #assert(state: 'writing' | 'proven'): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#state !== state) throw new Error(`${basename(this.#path)} is ${this.#state}, not ${state}`);
  }

  #problem(what: string) {
    return { what, path: dirname(this.#path), needed: this.expectedSize };
  }

  #tell(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers();
  }

  /** Until something changes or the signal fires. */
  async #wait(signal: AbortSignal): Promise<void> {
    const aborted = Promise.withResolvers<void>();
    const onAbort = () => aborted.resolve();
    signal.addEventListener('abort', onAbort, { once: true });
    await Promise.race([this.#change.promise, aborted.promise]);
    signal.removeEventListener('abort', onAbort);
  }
}

/** What is left of `chunks` when `count` bytes of them are done. */
function after(chunks: readonly Uint8Array[], count: number): Uint8Array[] {
  const rest: Uint8Array[] = [];
  let skip = count;
  for (const chunk of chunks) {
    if (skip < chunk.length) rest.push(skip === 0 ? chunk : chunk.subarray(skip));
    skip = Math.max(0, skip - chunk.length);
  }
  return rest;
}

async function fill(file: FileHandle, into: Uint8Array, position: number): Promise<void> {
  let filled = 0;
  while (filled < into.length) {
    const { bytesRead } = await file.read(into, filled, into.length - filled, position + filled);
    if (bytesRead === 0) throw new Error(`the file ends at ${position + filled}: somebody has cut it`);
    filled += bytesRead;
  }
}

function taken(path: string, cause: unknown): SnapshotError {
  return new SnapshotError('exists', `${path} exists already`, {
    why: 'another snapshot of the same name was made in the same second; it is left as it is',
    hint: 'Try again, or choose another --name.',
    retryable: true,
    cause,
  });
}
