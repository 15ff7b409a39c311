import { type FileHandle, lstat, rm } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { abortError, SnapshotError, systemCode } from '../errors.ts';
import type { NewSnapshot, SnapshotDraft, StoredSnapshot } from '../snapshot/ports.ts';
import type { SnapshotFacts } from '../snapshot/snapshot.ts';
import { diskCalls, temporaryPath } from './atomic-write.ts';
import { diskError, lacks } from './disk-errors.ts';
import { SteadySync } from './steady-sync.ts';
import { WrittenSums } from './written-sums.ts';

/** Writes what belongs beside a snapshot. @throws system errors */
export type WriteSidecar = (name: string, facts: SnapshotFacts) => Promise<void>;

/**
 * Opens a temporary sibling of `path`: 0600, never a file or link that is there already. What would only show when the
 * whole database has been streamed is found out now: a name that is taken, a file system that could not give it.
 * @throws SnapshotError `exists` | `io`, and system errors
 */
export async function openDraft(
  path: string,
  snapshot: NewSnapshot,
  writeSidecar: WriteSidecar,
  calls: typeof diskCalls = diskCalls,
): Promise<SnapshotDraft> {
  const isTaken = await lstat(path).then(
    () => true,
    (error: unknown) => systemCode(error) !== 'ENOENT',
  );
  if (isTaken) throw taken(path);
  const temporary = temporaryPath(path, snapshot.nodeName);
  const file = await calls.open(temporary, 'wx+', 0o600);
  try {
    const probe = temporaryPath(path, snapshot.nodeName);
    await calls.link(temporary, probe);
    await calls.unlink(probe);
  } catch (error) {
    await file.close();
    await rm(temporary, { force: true });
    throw lacks(error, 'hard links', { what: `Cannot write ${path}`, path: dirname(path) }) ?? error;
  }
  return new LocalDraft(file, temporary, path, snapshot, writeSidecar, calls);
}

/**
 * One file from its first byte to its final name. Writer and followers share one descriptor until the draft is disposed
 * of and the last read is done, so that a copy can be finished even when the file has been removed in the meantime.
 */
class LocalDraft implements SnapshotDraft {
  readonly expectedSize: number;
  readonly proven: Promise<number>;
  readonly #file: FileHandle;
  readonly #temporary: string;
  readonly #path: string;
  readonly #snapshot: NewSnapshot;
  readonly #writeSidecar: WriteSidecar;
  readonly #calls: typeof diskCalls;
  readonly #proof = Promise.withResolvers<number>();
  /** Undefined where nobody follows. */
  readonly #sums: WrittenSums | undefined;
  readonly #sync: SteadySync;
  #written = 0;
  #state: 'writing' | 'proven' | 'committed' | 'discarded' = 'writing';
  #failure: Error | undefined;
  /** Set when the file was seen to hold other bytes than were written. */
  #spoilt: SnapshotError | undefined;
  /** Replaced at each change of what a follower may see. */
  #change = Promise.withResolvers<void>();
  #reads = 0;
  #disposed = false;
  #closed: Promise<void> | undefined;

  constructor(
    file: FileHandle,
    temporary: string,
    path: string,
    snapshot: NewSnapshot,
    writeSidecar: WriteSidecar,
    calls: typeof diskCalls,
  ) {
    this.#file = file;
    this.#sync = new SteadySync(file);
    this.#sums = snapshot.isFollowed ? new WrittenSums() : undefined;
    this.#temporary = temporary;
    this.#path = path;
    this.#snapshot = snapshot;
    this.#writeSidecar = writeSidecar;
    this.#calls = calls;
    this.expectedSize = snapshot.expectedSize;
    this.proven = this.#proof.promise;
    // A save without followers has nobody who awaits the proof; that it fails is told by `write` and `commit`.
    void Promise.allSettled([this.proven]);
  }

  async write(chunks: readonly Uint8Array[]): Promise<void> {
    this.#assert('writing');
    let rest = chunks.filter((chunk) => chunk.length > 0);
    try {
      while (rest.length > 0) {
        const { bytesWritten } = await this.#file.writev(rest, this.#written);
        for (const chunk of before(rest, bytesWritten)) this.#sums?.add(chunk);
        this.#written += bytesWritten;
        this.#sync.wrote(bytesWritten);
        rest = after(rest, bytesWritten);
        this.#tell();
      }
    } catch (error) {
      throw await this.#diskError(`Cannot write ${this.#path}`, error);
    }
  }

  async read(into: Uint8Array, position: number, signal: AbortSignal): Promise<number> {
    if (this.#disposed)
      throw new Error(`${basename(this.#path)} was disposed of and cannot be read any more`);
    this.#reads += 1;
    try {
      const wanted = position + into.length;
      while (this.#state === 'writing' && this.#written < wanted && !signal.aborted) await this.#wait(signal);
      if (signal.aborted) throw abortError(signal);
      if (this.#failure !== undefined) throw this.#failure;
      const length = Math.max(0, Math.min(this.#written, wanted) - position);
      await this.#readWritten(into.subarray(0, length), position);
      return length;
    } catch (error) {
      throw await this.#diskError(`Cannot read ${this.#path}`, error);
    } finally {
      this.#reads -= 1;
      await this.#closeWhenUnused();
    }
  }

  prove(): void {
    this.#assert('writing');
    this.#state = 'proven';
    this.#proof.resolve(this.#written);
    this.#tell();
  }

  async commit(facts: SnapshotFacts, signal: AbortSignal): Promise<StoredSnapshot> {
    this.#assert('proven');
    try {
      await this.#giveName(signal);
    } catch (error) {
      throw await this.#diskError(`Cannot finish ${this.#path}`, error);
    }
    const { name, nodeName, createdAt, compressed } = this.#snapshot;
    const warnings = await this.#writeSidecar(name, facts).then(
      () => [],
      async (error: unknown) => [await this.#diskError(`Cannot keep the metadata of ${name}`, error)],
    );
    const location = { store: 'local', path: this.#path } as const;
    return {
      snapshot: { ...facts, name, nodeName, createdAt, compressed, size: this.#written, location },
      warnings,
    };
  }

  async discard(reason: SnapshotError | Error): Promise<void> {
    if (this.#state === 'committed' || this.#state === 'discarded') return;
    // What is proven does not get worse when it cannot have its name: its copies may be finished.
    if (this.#state === 'writing') {
      this.#failure = reason;
      this.#proof.reject(reason);
    }
    this.#state = 'discarded';
    this.#tell();
    await rm(this.#temporary, { force: true }).catch(async (error: unknown) => {
      throw await this.#diskError(`Cannot remove ${this.#temporary}`, error);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    try {
      await this.discard(new SnapshotError('aborted', `${this.#path} was given up`));
    } finally {
      await this.#closeWhenUnused();
    }
  }

  async #giveName(signal: AbortSignal): Promise<void> {
    if (this.#spoilt !== undefined) throw this.#spoilt;
    const { size } = await this.#file.stat();
    if (size !== this.#written) {
      throw new SnapshotError('corrupt', `${this.#temporary} has changed while it was written`, {
        why: `it has ${size} bytes, and ${this.#written} were written`,
        hint: 'Find out who else writes to the snapshot folder.',
      });
    }
    await this.#sync.finish(signal);
    // Unlike a rename, a link never replaces a file.
    await this.#calls.link(this.#temporary, this.#path).catch((error: unknown) => {
      throw systemCode(error) === 'EEXIST' ? taken(this.#path, error) : error;
    });
    try {
      await this.#calls.unlink(this.#temporary);
      await this.#calls.syncFolder(dirname(this.#path));
    } catch (error) {
      await Promise.allSettled([rm(this.#path, { force: true })]);
      throw error;
    }
    this.#state = 'committed';
  }

  /** Only what was written is handed out: whoever sends it on has nothing but this file. @throws SnapshotError `corrupt` */
  async #readWritten(into: Uint8Array, position: number): Promise<void> {
    if (into.length === 0) return;
    if (this.#sums === undefined) throw new Error(`${this.#path} was to have no followers`);
    const range = this.#sums.around(position, into.length);
    const { start, end } = range;
    const isWhole = start === position && end === position + into.length;
    const bytes = isWhole ? into : Buffer.allocUnsafe(end - start);
    await fill(this.#file, bytes, start);
    if (!range.matches(bytes)) {
      this.#spoilt = spoilt(this.#path, start, end);
      throw this.#spoilt;
    }
    if (!isWhole) into.set(bytes.subarray(position - start, position - start + into.length));
  }

  async #closeWhenUnused(): Promise<void> {
    if (!this.#disposed || this.#reads > 0) return;
    this.#closed ??= this.#file.close();
    // A disk that is slow to sync has been given up on; so is the end of it.
    if (this.#sync.busy) void Promise.allSettled([this.#closed]);
    else await this.#closed;
  }

  /** That the state has another name is a mistake of the caller, not of the disk. */
  #assert(state: 'writing' | 'proven'): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#state !== state) throw new Error(`${basename(this.#path)} is ${this.#state}, not ${state}`);
  }

  async #diskError(what: string, error: unknown): Promise<Error> {
    if (error === this.#failure && this.#failure !== undefined) return this.#failure;
    return diskError(error, { what, path: dirname(this.#path), needed: this.expectedSize });
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

/** The first `count` bytes of `chunks`. */
function before(chunks: readonly Uint8Array[], count: number): Uint8Array[] {
  const done: Uint8Array[] = [];
  let left = count;
  for (const chunk of chunks) {
    if (left > 0) done.push(chunk.subarray(0, left));
    left -= Math.min(left, chunk.length);
  }
  return done;
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

function spoilt(path: string, start: number, end: number): SnapshotError {
  return new SnapshotError('corrupt', `Cannot read ${path}`, {
    why: `between its bytes ${start} and ${end} the disk gives back others than were written`,
    hint: 'Check disk and memory of this node; a copy that lies there already may be damaged.',
    retryable: true,
  });
}

function taken(path: string, cause?: unknown): SnapshotError {
  return new SnapshotError('exists', `${path} exists already`, {
    why: 'another snapshot of the same name was made in the same second; it is left as it is',
    hint: 'Try again, or choose another --name.',
    retryable: true,
    cause,
  });
}
