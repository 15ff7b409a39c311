import { stat, statfs } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { RestoreOrder } from '../config/restore-settings.ts';
import { existingFolder, exists } from './files.ts';
import type { Journal, Places } from './journal.ts';
import type { SnapshotFile } from './snapshot-file.ts';
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
        : { dir, away: `${dir.replace(/\/$/, '')}-restore-${stamp}` };
    return { dataDir, workDir, oldDir, serverDir, mounted, manifests };
  }
}

/** Whether it is a file system of its own. */
export async function isMounted(folder: string): Promise<boolean> {
  if (!(await exists(folder))) return false;
  const [own, above] = await Promise.all([stat(folder), stat(dirname(folder))]);
  return own.dev !== above.dev;
}

/** Bytes that are needed, and free, where the new data come to be. */
export async function spaceFor(places: Places, file: SnapshotFile | undefined): Promise<Space> {
  const { bavail, bsize } = await statfs(await existingFolder(dirname(places.workDir)));
  const needed = file === undefined ? 0 : file.plainSize * (file.compressed ? 2 : 1) + LOG_BYTES;
  return { needed, free: bavail * bsize };
}

export async function ownerOf(dataDir: string): Promise<Journal['owner']> {
  const { uid, gid } = await stat(await existingFolder(dataDir));
  return { uid, gid };
}
