import { constants } from 'node:fs';
import { lstat, open, readdir, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { abortError, SnapshotError, systemCode } from '../errors.ts';
import { assertSnapshotName, looksLikeSnapshot, parseCreatedAt } from '../snapshot/naming.ts';
import type {
  ByteRange,
  NewSnapshot,
  SnapshotDraft,
  SnapshotFolder,
  SnapshotUpload,
  StoredSnapshot,
} from '../snapshot/ports.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import { isTemporaryOf, makeFolder, syncFolder } from './atomic-write.ts';
import { diskError, diskFull, freeBytes } from './disk-errors.ts';
import { lockFolder, sweepLocks } from './folder-lock.ts';
import { openDraft } from './local-draft.ts';
import { createSidecars, sidecarFolder } from './local-sidecars.ts';
import { sweepPartials } from './partial-file.ts';

const COPY_BYTES = 1024 * 1024;

export interface LocalStoreOptions {
  readonly dir: string;
  /** A default folder is made in the server's own when it is missing, and empty until then; one that the user named must exist. */
  readonly isDefaultDir: boolean;
  readonly nodeName: string;
}

/** The snapshot folder of this node, laid out as k3s does: files side by side, metadata in `<dir>/../.metadata`. */
export function createLocalStore(options: LocalStoreOptions): SnapshotFolder {
  const { isDefaultDir, nodeName } = options;
  const dir = resolve(options.dir);
  const sidecars = createSidecars(sidecarFolder(dir), `${nodeName}/${basename(dir)}`);

  const find = async (name: string, hasSidecar = true): Promise<Snapshot | undefined> => {
    const path = join(dir, name);
    const stats = await lstat(path).catch(absent);
    if (stats?.isFile() !== true || !looksLikeSnapshot(name, stats.size)) return undefined;
    const metadata = hasSidecar ? await sidecars.read(name) : undefined;
    return {
      name,
      nodeName,
      createdAt: parseCreatedAt(name) ?? new Date(Math.floor(stats.mtimeMs / 1000) * 1000),
      size: stats.size,
      compressed: name.endsWith('.zip'),
      location: { store: 'local', path },
      ...(metadata === undefined ? {} : { metadata }),
    };
  };

  const create = async (snapshot: NewSnapshot): Promise<SnapshotDraft> => {
    assertSnapshotName(snapshot.name);
    await useFolder(dir, isDefaultDir);
    const path = join(dir, snapshot.name);
    const problem = { what: `Cannot write ${path}`, path: dir, needed: snapshot.expectedSize };
    const free = await freeBytes(dir);
    // Filling the disk that etcd writes to would do harm; only the size of a plain snapshot is known beforehand.
    if (free !== undefined && !snapshot.compressed && free < snapshot.expectedSize) {
      throw diskFull(problem, free);
    }
    return openDraft(path, snapshot, (name, facts) => sidecars.write(name, facts)).catch(
      async (error: unknown) => {
        throw await diskError(error, problem);
      },
    );
  };

  return {
    kind: 'local',
    create,
    async lock(signal) {
      await useFolder(dir, isDefaultDir);
      return lockFolder(dir, signal);
    },
    // No command copies into the folder yet. The contract suite does, so that disk and S3 are held to the same rules.
    async put(upload, signal) {
      assertSnapshotName(upload.name);
      if (signal.aborted) throw abortError(signal);
      await using draft = await create({ ...upload, expectedSize: upload.bytes.expectedSize });
      return await copy(upload, draft, signal);
    },
    async list(signal) {
      if (signal.aborted) throw abortError(signal);
      const found: Snapshot[] = [];
      const names = await namesIn(dir, isDefaultDir);
      const withSidecar = await sidecars.names();
      for (const name of names) {
        if (signal.aborted) throw abortError(signal);
        const snapshot = await find(name, withSidecar.has(name)).catch(unreadable(dir));
        if (snapshot !== undefined) found.push(snapshot);
      }
      return found;
    },
    async stat(name, signal) {
      assertSnapshotName(name);
      if (signal.aborted) throw abortError(signal);
      return find(name).catch(unreadable(dir));
    },
    async open(name, signal, range) {
      assertSnapshotName(name);
      if (signal.aborted) throw abortError(signal);
      if ((await find(name).catch(unreadable(dir))) === undefined) throw notThere(dir, name);
      return readRange(join(dir, name), signal, range);
    },
    async remove(name, signal) {
      assertSnapshotName(name);
      if (signal.aborted) throw abortError(signal);
      try {
        const there = (await find(name)) !== undefined;
        if (!there) await assertNothingElse(dir, name);
        if (there) {
          await rm(join(dir, name), { force: true });
          await syncFolder(dir);
        }
        await sidecars.remove(name);
        return there;
      } catch (error) {
        throw await diskError(error, { what: `Cannot delete ${join(dir, name)}`, path: dir });
      }
    },
    async sweep(signal) {
      if ((await stat(dir).catch(absent)) === undefined) return [];
      try {
        const drafts = await sweepDrafts(dir, nodeName, signal);
        const partials = await sweepPartials(dir);
        return [...drafts, ...partials, ...(await sidecars.sweep()), ...(await sweepLocks(dir, signal))];
      } catch (error) {
        throw await diskError(error, { what: `Cannot tidy up ${dir}`, path: dir });
      }
    },
  };
}

/**
 * Of a default folder at most `db/snapshots` is made: where the server itself is not at home, the node or a setting is
 * another one than was thought, and a tree of empty folders would mislead whoever looks next.
 */
async function assertHome(dir: string): Promise<void> {
  const home = dirname(dirname(dir));
  const stats = await stat(home).catch((error: unknown) => {
    // A file in the way has a name of its own, which making the folder finds.
    if (systemCode(error) !== 'ENOTDIR') return absent(error);
  });
  if (stats !== undefined) return;
  throw new SnapshotError('not-found', `There is no place for the snapshot folder ${dir}`, {
    why: `${home} does not exist, so there is no such server on this node`,
    hint: 'Run this on a server, or correct --data-dir or --distribution, or name a folder with --dir.',
  });
}

async function useFolder(dir: string, isDefaultDir: boolean): Promise<void> {
  try {
    const stats = await stat(dir).catch(absent);
    if (stats?.isDirectory() === true) return;
    if (stats !== undefined) throw notAFolder(dir);
    if (!isDefaultDir) throw missing(dir);
    await assertHome(dir);
    await makeFolder(dir);
  } catch (error) {
    throw await diskError(error, { what: `Cannot use the snapshot folder ${dir}`, path: dir });
  }
}

async function namesIn(dir: string, isDefaultDir: boolean): Promise<string[]> {
  try {
    return await readdir(dir);
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT' && isDefaultDir) {
      await assertHome(dir);
      return [];
    }
    if (code === 'ENOENT') throw missing(dir);
    if (code === 'ENOTDIR') throw notAFolder(dir);
    throw await diskError(error, { what: `Cannot list the snapshot folder ${dir}`, path: dir });
  }
}

async function copy(
  upload: SnapshotUpload,
  draft: SnapshotDraft,
  signal: AbortSignal,
): Promise<StoredSnapshot> {
  const buffer = Buffer.allocUnsafe(COPY_BYTES);
  let position = 0;
  for (;;) {
    const count = await upload.bytes.read(buffer, position, signal);
    await draft.write([buffer.subarray(0, count)]);
    position += count;
    if (count > 0) upload.onProgress?.(position);
    if (count < buffer.length) break;
  }
  const size = await upload.bytes.proven;
  if (size !== position) {
    throw new SnapshotError('corrupt', `${upload.name} could not be copied`, {
      why: `it has ${size} bytes, and ${position} could be read`,
      retryable: true,
    });
  }
  draft.prove();
  const facts = await upload.facts;
  if (signal.aborted) throw abortError(signal);
  return draft.commit(facts, signal);
}

async function* readRange(
  path: string,
  signal: AbortSignal,
  range: ByteRange | undefined,
): AsyncGenerator<Uint8Array> {
  const problem = { what: `Cannot read ${path}`, path: dirname(path) };
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch(async (error: unknown) => {
    throw await diskError(error, problem);
  });
  try {
    let position = range?.start ?? 0;
    const end = range?.end ?? Number.POSITIVE_INFINITY;
    while (position < end) {
      if (signal.aborted) throw abortError(signal);
      const buffer = Buffer.allocUnsafe(Math.min(COPY_BYTES, end - position));
      const { bytesRead } = await file
        .read(buffer, 0, buffer.length, position)
        .catch(async (error: unknown) => {
          throw await diskError(error, problem);
        });
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
      position += bytesRead;
    }
  } finally {
    await file.close();
  }
}

async function sweepDrafts(dir: string, nodeName: string, signal: AbortSignal): Promise<string[]> {
  const gone: string[] = [];
  for (const name of await readdir(dir)) {
    if (signal.aborted) throw abortError(signal);
    if (!isTemporaryOf(nodeName, name)) continue;
    await rm(join(dir, name), { force: true });
    gone.push(name);
  }
  return gone;
}

function absent(error: unknown): undefined {
  if (systemCode(error) !== 'ENOENT') throw error;
}

function unreadable(dir: string): (error: unknown) => Promise<never> {
  return async (error) => {
    throw await diskError(error, { what: `Cannot read the snapshot folder ${dir}`, path: dir });
  };
}

/** What carries a snapshot's name and is none (a link, a folder, another file) is left alone, and its sidecar too. */
async function assertNothingElse(dir: string, name: string): Promise<void> {
  const stats = await lstat(join(dir, name)).catch(absent);
  if (stats === undefined) return;
  throw new SnapshotError('foreign', `Cannot delete ${join(dir, name)}`, {
    why: stats.isFile() ? 'it is not a snapshot' : 'it is no regular file',
    hint: 'Look at it, and remove it by hand if it may go.',
  });
}

function notThere(dir: string, name: string): SnapshotError {
  return new SnapshotError('not-found', `There is no snapshot ${name} in ${dir}`, {
    hint: 'List what there is with "etcd-snapshot ls".',
  });
}

function missing(dir: string): SnapshotError {
  return new SnapshotError('not-found', `The snapshot folder ${dir} does not exist`, {
    why: '--dir names it, and a folder that was named is not made',
    hint: 'Make it (mode 0700), or correct --dir.',
  });
}

function notAFolder(dir: string): SnapshotError {
  return new SnapshotError('not-found', `${dir} is not a folder`, {
    why: 'a file of that name is in the way',
    hint: 'Name a folder with --dir, or move the file away.',
  });
}
