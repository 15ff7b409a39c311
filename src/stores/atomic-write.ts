import { createHash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** `.<final name>.<8 hex of the node><8 hex of chance>.part`: hidden, and never a name that k3s or we would list. */
const TEMPORARY = /^\..+\.([0-9a-f]{8})[0-9a-f]{8}\.part$/;

/** A fresh temporary sibling of the file `path`, marked as made by that node. */
export function temporaryPath(path: string, nodeName: string): string {
  const random = randomBytes(4).toString('hex');
  return join(dirname(path), `.${basename(path)}.${nodeMark(nodeName)}${random}.part`);
}

/** Whether a file is a temporary one that this node made: nodes may share a folder. */
export function isTemporaryOf(nodeName: string, fileName: string): boolean {
  return TEMPORARY.exec(fileName)?.[1] === nodeMark(nodeName);
}

/** A digest, because names of nodes are too long to stand beside the name of a snapshot. */
function nodeMark(nodeName: string): string {
  return createHash('sha256').update(nodeName).digest('hex').slice(0, 8);
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

/**
 * Writes a small file so that its name never stands for half of it: temporary sibling, fsync, rename, fsync of the folder.
 * The folder is made (0700) when it is missing; the file is 0600.
 * @throws system errors; the temporary file is gone then
 */
export async function writeAtomically(path: string, nodeName: string, data: string): Promise<void> {
  const folder = dirname(path);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const temporary = temporaryPath(path, nodeName);
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(data);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(folder);
}
