import { createHash } from 'node:crypto';
import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Everything below a folder, one line each: name, kind, mode, owner, and what is in it. But no sockets: those are locks, and of a
 * program that died they lie there until the next one wants the lock.
 */
export async function treeOf(folder: string, inside = ''): Promise<string[]> {
  const lines: string[] = [];
  for (const name of (await readdir(join(folder, inside))).sort()) {
    const path = join(inside, name);
    const { mode, uid, gid, ...stats } = await lstat(join(folder, path));
    if ((mode & 0o170000) === 0o140000) continue;
    const isFolder = (mode & 0o170000) === 0o040000;
    const isLink = (mode & 0o170000) === 0o120000;
    const content = isFolder
      ? 'folder'
      : isLink
        ? `-> ${await readlink(join(folder, path))}`
        : `${stats.size} ${createHash('sha256')
            .update(await readFile(join(folder, path)))
            .digest('hex')}`;
    lines.push(`${path} ${(mode & 0o7777).toString(8)} ${uid}:${gid} ${content}`);
    if (isFolder) lines.push(...(await treeOf(folder, path)));
  }
  return lines;
}
