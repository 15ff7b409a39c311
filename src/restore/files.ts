import {
  chown,
  cp,
  lchown,
  lstat,
  open,
  readdir,
  readlink,
  realpath,
  rename,
  rm,
  stat,
} from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { systemCode } from '../errors.ts';
import { isTemporaryOf, syncFolder, writeAtomically } from '../stores/atomic-write.ts';

/** Whether anything has that name; a link counts, whatever it leads to. */
export async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(absent)) !== undefined;
}

/** The nearest folder above `path`, or itself, that exists. */
export async function existingFolder(path: string): Promise<string> {
  for (let folder = path; ; folder = dirname(folder)) {
    const stats = await stat(folder).catch(absent);
    if (stats?.isDirectory() === true || folder === dirname(folder)) return folder;
  }
}

/**
 * Where a folder really is, without links, whether it is there or not: what a link leads to is what is renamed, and it is by
 * its real name that the kernel tells who has it open.
 */
export async function realFolder(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    absent(error);
  }
  // Also a link whose folder was put aside.
  const target = await readlink(path).catch(notALink);
  if (target !== undefined) return realFolder(resolve(dirname(path), target));
  return dirname(path) === path ? path : join(await realFolder(dirname(path)), basename(path));
}

function notALink(error: unknown): undefined {
  if (systemCode(error) !== 'EINVAL') absent(error);
}

/** Gives a name, and makes that durable in both folders. @throws system errors */
export async function moveTo(from: string, to: string): Promise<void> {
  await rename(from, to);
  await syncFolder(dirname(to));
  if (dirname(from) !== dirname(to)) await syncFolder(dirname(from));
}

/** Makes everything below `folder` durable, and of that owner. @throws system errors */
export async function settleTree(
  folder: string,
  owner: { readonly uid: number; readonly gid: number },
): Promise<void> {
  const stats = await stat(folder);
  if (stats.uid !== owner.uid || stats.gid !== owner.gid) await chown(folder, owner.uid, owner.gid);
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      await settleTree(path, owner);
      continue;
    }
    await using file = await open(path, 'r+');
    await file.chown(owner.uid, owner.gid);
    await file.sync();
  }
  await syncFolder(folder);
}

/** Marks temporary files as made by a restore. */
const OWNER = 'restore';

/** As `writeAtomically`; what earlier tries have left of that file goes. @throws system errors */
export async function writeSmall(path: string, data: string | Uint8Array): Promise<void> {
  await removeUnfinished(path);
  await writeAtomically(path, OWNER, data);
}

/** Removes what a write of that file has left which was cut off. @throws system errors */
export async function removeUnfinished(path: string): Promise<void> {
  if (!(await exists(dirname(path)))) return;
  for (const name of await readdir(dirname(path))) {
    if (!name.startsWith(`.${basename(path)}.`) || !isTemporaryOf(OWNER, name)) continue;
    await rm(join(dirname(path), name), { force: true });
  }
}

/**
 * Copies a folder as it is: modes, owners, times, and links as links. All of it is durable then.
 * @throws system errors; what was copied until then stays
 */
export async function copyTree(from: string, to: string): Promise<void> {
  await cp(from, to, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
  await keepOwners(from, to);
}

async function keepOwners(from: string, to: string): Promise<void> {
  const { uid, gid, mode, atime, mtime } = await lstat(from);
  await lchown(to, uid, gid);
  const stats = await lstat(to);
  if (stats.isDirectory()) {
    for (const name of await readdir(to)) await keepOwners(join(from, name), join(to, name));
  }
  if (!stats.isFile() && !stats.isDirectory()) return;
  await using entry = await open(to, 'r');
  // Another owner takes away bits of the mode, and what was copied into a folder its time.
  await entry.chmod(mode & 0o7777);
  await entry.utimes(atime, mtime);
  await entry.sync();
}

function absent(error: unknown): undefined {
  if (!['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '')) throw error;
}
