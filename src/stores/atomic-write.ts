import { createHash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { link, mkdir, open, rename, rm, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** `.<final name>.<8 hex of the owner><8 hex of chance>.part`: hidden, and never a name that k3s or we would list. */
const TEMPORARY = /^\..+\.([0-9a-f]{8})[0-9a-f]{8}\.part$/;

/** A fresh temporary sibling of the file `path`, marked as made by that owner: a node, or a node's folder. */
export function temporaryPath(path: string, owner: string): string {
  const random = randomBytes(4).toString('hex');
  return join(dirname(path), `.${basename(path)}.${ownerMark(owner)}${random}.part`);
}

/** Whether a file is a temporary one that this owner made: nodes may share a folder. */
export function isTemporaryOf(owner: string, fileName: string): boolean {
  return TEMPORARY.exec(fileName)?.[1] === ownerMark(owner);
}

/** 8 hex digits: names of nodes are too long to stand beside the name of a snapshot. */
export function ownerMark(owner: string): string {
  return createHash('sha256').update(owner).digest('hex').slice(0, 8);
}

/** Makes the names in a folder durable. @throws system errors */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** The calls whose order decides what is left after a power cut. */
export const diskCalls = { open, link, unlink, rename, syncFolder };

/** Makes a folder (0700) and those above it that are missing, and their names durable. @throws system errors */
export async function makeFolder(path: string, calls: typeof diskCalls = diskCalls): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  for (let made = path; made !== dirname(first); made = dirname(made)) await calls.syncFolder(dirname(made));
}

/**
 * Writes a small file so that its name never stands for half of it: temporary sibling, fsync, rename, fsync of the folder.
 * The folder is made (0700) when it is missing; the file is 0600.
 * @throws system errors; the temporary file is gone then
 */
export async function writeAtomically(
  path: string,
  owner: string,
  data: string | Uint8Array,
  calls: typeof diskCalls = diskCalls,
): Promise<void> {
  const folder = dirname(path);
  await makeFolder(folder, calls);
  const temporary = temporaryPath(path, owner);
  try {
    const file = await calls.open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(data);
      await file.sync();
    } finally {
      await file.close();
    }
    await calls.rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await calls.syncFolder(folder);
}
