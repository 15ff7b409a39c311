import { constants } from 'node:fs';
import { appendFile, type FileHandle, readdir, readFile, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { abortError, SnapshotError, systemCode } from '../errors.ts';
import type { ByteRange } from '../snapshot/ports.ts';
import { diskCalls } from './atomic-write.ts';
import { diskError, diskFull, freeBytes, lacks } from './disk-errors.ts';
import { FileSums } from './file-sums.ts';
import { SteadySync } from './steady-sync.ts';

const GIVEN_UP_MS = 24 * 3_600_000;
const BLOCK = 512;
const READ_BYTES = 1024 * 1024;
/** `.<final name>.<8 hex>.download`, and the list of what it holds: hidden, and never a name that k3s or we would list. */
const TEMPORARY = /^\.(.+)\.([0-9a-f]{8})\.(?:download|download\.link|ranges)$/;
/** A line of the list: number of the range, and the MD5 of its bytes. A line that was cut off is none. */
const LINE = /^(\d+) ([0-9a-f]{32})\n/gm;

export interface PartialPlan {
  /** Where the file gets its name. */
  readonly path: string;
  /** 8 hex digits that stand for the bytes: only what has the same ones is taken up again. */
  readonly id: string;
  readonly size: number;
  /** Without gaps, from 0 to `size`. */
  readonly ranges: readonly ByteRange[];
}

/**
 * A file that is filled range by range, in whatever order, and that the next process takes up again when this one dies.
 * What the list says is never believed: after a power cut it may know of more than the disk, so the bytes are read back.
 */
export class PartialFile implements AsyncDisposable {
  readonly #plan: PartialPlan;
  readonly #file: FileHandle;
  readonly #sums: FileSums;
  readonly #sync: SteadySync;
  readonly #calls: typeof diskCalls;
  /** By the start of the range. */
  readonly #known = new Map<number, string>();

  private constructor(plan: PartialPlan, file: FileHandle, calls: typeof diskCalls) {
    this.#plan = plan;
    this.#file = file;
    this.#sums = new FileSums(file);
    this.#sync = new SteadySync(file);
    this.#calls = calls;
  }

  /** Makes it, or takes up what is there; what an earlier try at other bytes has left goes. @throws system errors */
  static async open(
    plan: PartialPlan,
    signal: AbortSignal,
    calls: typeof diskCalls = diskCalls,
  ): Promise<PartialFile> {
    await removePartials(plan.path, plan.id);
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
    const file = await calls.open(dataPath(plan), flags, 0o600);
    const partial = new PartialFile(plan, file, calls);
    try {
      await partial.#probeLinks();
      await partial.#recall(signal);
      await partial.#makeRoom();
      return partial;
    } catch (error) {
      await partial[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The ranges that are not there yet. */
  get missing(): readonly ByteRange[] {
    return this.#plan.ranges.filter(({ start }) => !this.#known.has(start));
  }

  /** @throws SnapshotError of this disk, so that it does not pass for one of the server that the bytes come from */
  async write(bytes: Uint8Array, position: number): Promise<void> {
    const { path, size } = this.#plan;
    try {
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await this.#file.write(bytes, done, bytes.length - done, position + done);
        done += bytesWritten;
      }
    } catch (error) {
      throw await diskError(error, { what: `Cannot write ${path}`, path: dirname(path), needed: size });
    }
    this.#sync.wrote(bytes.length);
  }

  /** Notes that all bytes of a range are written. @throws system errors */
  async finish(range: ByteRange): Promise<void> {
    const sum = await this.#sums.of(range);
    const number = this.#plan.ranges.indexOf(range);
    // In a line of its own even when a process died in the middle of the one before.
    await appendFile(listPath(this.#plan), `\n${number} ${sum}\n`, { mode: 0o600 });
    this.#known.set(range.start, sum);
  }

  /** The MD5 of any part of it, as 32 hex digits. @throws system errors */
  async sum(range: ByteRange): Promise<string> {
    const known = this.#plan.ranges.some(({ start, end }) => start === range.start && end === range.end);
    return (known ? this.#known.get(range.start) : undefined) ?? this.#sums.of(range);
  }

  /** All its bytes, in order. @throws system errors */
  read(): AsyncIterable<Buffer> {
    return this.#file.createReadStream({ start: 0, autoClose: false, highWaterMark: READ_BYTES });
  }

  /**
   * Gives it its name, durably. Interrupted in the fsync, which may be long, it ends at once and has none.
   * @throws SnapshotError `exists`, and system errors
   */
  async commit(signal: AbortSignal): Promise<void> {
    const { path } = this.#plan;
    await this.#sync.finish(signal);
    // Unlike a rename, a link never replaces a file.
    await this.#calls.link(dataPath(this.#plan), path).catch((error: unknown) => {
      throw systemCode(error) === 'EEXIST' ? inTheWay(path) : error;
    });
    await this.#calls.syncFolder(dirname(path));
    await this.drop();
  }

  /** Removes what is temporary; the file under its name stays. @throws system errors */
  async drop(): Promise<void> {
    await this.#calls.unlink(dataPath(this.#plan));
    await rm(listPath(this.#plan), { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sums[Symbol.asyncDispose]();
    const closed = this.#file.close();
    // A disk that is slow to sync has been given up on; so is the end of it.
    if (this.#sync.busy) void Promise.allSettled([closed]);
    else await closed;
  }

  async #recall(signal: AbortSignal): Promise<void> {
    const list = await readFile(listPath(this.#plan), 'utf8').catch((error: unknown) => {
      if (systemCode(error) !== 'ENOENT') throw error;
      return '';
    });
    const { size } = await this.#file.stat();
    for (const [, number, sum = ''] of list.matchAll(LINE)) {
      if (signal.aborted) throw abortError(signal);
      const range = this.#plan.ranges[Number(number)];
      if (range === undefined || range.end > size) continue;
      if ((await this.#sums.of(range)) === sum) this.#known.set(range.start, sum);
    }
  }

  /** What would only show after a long download is found out now. */
  async #makeRoom(): Promise<void> {
    const { path, size } = this.#plan;
    const { blocks } = await this.#file.stat();
    const needed = Math.max(0, size - blocks * BLOCK);
    const folder = dirname(path);
    const free = await freeBytes(folder);
    if (free !== undefined && free < needed) {
      throw diskFull({ what: `Cannot write ${path}`, path: folder, needed }, free);
    }
    await this.#file.truncate(size);
  }

  async #probeLinks(): Promise<void> {
    const { path } = this.#plan;
    const probe = `${dataPath(this.#plan)}.link`;
    try {
      await rm(probe, { force: true });
      await this.#calls.link(dataPath(this.#plan), probe);
      await this.#calls.unlink(probe);
    } catch (error) {
      throw lacks(error, 'hard links', { what: `Cannot write ${path}`, path: dirname(path) }) ?? error;
    }
  }
}

/** Removes what broken-off downloads to `path` have left, but for those of `id`. @throws system errors */
export async function removePartials(path: string, id = ''): Promise<void> {
  const folder = dirname(path);
  for (const name of await readdir(folder)) {
    const [, of, sort] = TEMPORARY.exec(name) ?? [];
    if (of !== basename(path) || sort === id) continue;
    await rm(join(folder, name), { force: true });
  }
}

/**
 * Removes what broken-off downloads have left in a folder that nobody has come back for in a day: nodes may share it, and
 * a download that runs writes every few seconds. @returns the names that went @throws system errors
 */
export async function sweepPartials(folder: string): Promise<string[]> {
  const gone: string[] = [];
  for (const name of await readdir(folder)) {
    if (!TEMPORARY.test(name)) continue;
    const stats = await stat(join(folder, name)).catch((error: unknown) => {
      if (systemCode(error) !== 'ENOENT') throw error;
    });
    if (stats === undefined || Date.now() - stats.mtimeMs < GIVEN_UP_MS) continue;
    await rm(join(folder, name), { force: true });
    gone.push(name);
  }
  return gone;
}

/** @throws SnapshotError `exists` */
export function inTheWay(path: string): SnapshotError {
  return new SnapshotError('exists', `Cannot write ${path}`, {
    why: 'there is a file of that name with other bytes; it is left as it is',
    hint: 'Move it away, or download to another place.',
  });
}

function dataPath({ path, id }: PartialPlan): string {
  return join(dirname(path), `.${basename(path)}.${id}.download`);
}

function listPath({ path, id }: PartialPlan): string {
  return join(dirname(path), `.${basename(path)}.${id}.ranges`);
}
