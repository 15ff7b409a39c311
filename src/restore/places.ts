import { readdir, rm, stat, statfs } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { RestoreOrder } from '../config/restore-settings.ts';
import { existingFolder, exists } from './files.ts';
import type { Journal, Places } from './journal.ts';
import type { SnapshotFile } from './snapshot-file.ts';
import { isUnpacked } from './unpack.ts';
import { LOG_BYTES } from './verify-snapshot.ts';

/** In bytes. */
export interface Space {
  readonly needed: number;
  readonly free: number;
}

/** Of the journal of a data folder: beside it, or in it where it is mounted. */
export async function journalPath(dataDir: string): Promise<string> {
  return (await isMounted(dataDir))
    ? join(dataDir, '.etcd-restore.json')
    : join(dirname(dataDir), `.${basename(dataDir)}-restore.json`);
}

/** Names that nobody has yet: also after the clock was set back. */
export async function placesFor(order: RestoreOrder, now: Date): Promise<Places> {
  const { dataDir, serverDir } = order;
  const mounted = await isMounted(dataDir);
  const name = mounted ? 'etcd' : basename(dataDir);
  const folder = mounted ? dataDir : dirname(dataDir);
  for (let stamp = Math.floor(now.getTime() / 1000); ; stamp += 1) {
    const oldDir = join(folder, `${name}-old-${stamp}`);
    const workDir = join(folder, `${name}-restore-${stamp}`);
    const taken = [oldDir, workDir, join(folder, `${name}-undone-${stamp}`)];
    if ((await Promise.all(taken.map(exists))).includes(true)) continue;
    const { manifestDir: dir } = order;
    const manifests =
      dir === undefined || !(await exists(join(dir, 'etcd.yaml')))
        ? undefined
        : {
            dir,
            away: `${dir}-restore-${stamp}`,
            ...(order.initialCluster === undefined ? {} : { initialCluster: order.initialCluster }),
          };
    return { dataDir, workDir, oldDir, serverDir, mounted, manifests };
  }
}

/** Whether it is a file system of its own. */
export async function isMounted(folder: string): Promise<boolean> {
  if (!(await exists(folder))) return false;
  const [own, above] = await Promise.all([stat(folder), stat(dirname(folder))]);
  return own.dev !== above.dev;
}

/**
 * Bytes that are still to be written, and free for them, where the new data come to be. What a restore that was cut off has
 * left of them goes before they are made anew.
 */
export async function spaceFor(
  { workDir }: Pick<Places, 'workDir'>,
  file: Pick<SnapshotFile, 'plainSize'> | undefined,
): Promise<Space> {
  const { bavail, bsize } = await statfs(await existingFolder(dirname(workDir)));
  const left = await sizeOf(join(workDir, 'data'));
  // A zip has been unpacked there by now.
  const needed = file === undefined ? 0 : file.plainSize + LOG_BYTES;
  return { needed, free: bavail * bsize + left };
}

/** Bytes that a folder takes on its disk; 0 when there is none. */
async function sizeOf(folder: string): Promise<number> {
  if (!(await exists(folder))) return 0;
  let bytes = 0;
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    bytes += entry.isDirectory() ? await sizeOf(path) : (await stat(path)).blocks * 512;
  }
  return bytes;
}

/**
 * Removes what a look that was killed has left: a snapshot that was unpacked, in a work folder that no journal names. For
 * who has the lock. @param kept the work folder of a restore that was cut off
 */
export async function sweepLooks(dataDir: string, kept: string | undefined): Promise<void> {
  const mounted = await isMounted(dataDir);
  const folder = mounted ? dataDir : dirname(dataDir);
  if (!(await exists(folder))) return;
  const prefix = `${mounted ? 'etcd' : basename(dataDir)}-restore-`;
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const { name } = entry;
    const path = join(folder, name);
    if (!entry.isDirectory() || path === kept) continue;
    if (!name.startsWith(prefix) || !/^\d+$/.test(name.slice(prefix.length))) continue;
    const inside = await readdir(path);
    if (inside.every((one) => isUnpacked(one))) {
      await rm(path, { recursive: true });
    }
  }
}

export async function ownerOf(dataDir: string): Promise<Journal['owner']> {
  const { uid, gid } = await stat(await existingFolder(dataDir));
  return { uid, gid };
}
