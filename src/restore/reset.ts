import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { RestoreOrder } from '../config/restore-settings.ts';
import { SnapshotError } from '../errors.ts';
import { resetFlag } from './apply.ts';
import { type DatabaseFacts, readDatabase } from './database.ts';
import { exists } from './files.ts';
import type { Journal } from './journal.ts';
import type { Obstacle } from './order.ts';
import type { SnapshotFile } from './snapshot-file.ts';
import { isNewer, writtenBy } from './versions.ts';

interface OwnData {
  readonly file: SnapshotFile;
  /** Empty: nobody knows what it should be. */
  readonly sha256: string;
  readonly database: DatabaseFacts;
}

/** The database that is there, for a reset that keeps it. @throws SnapshotError when there is none, or a reset was done already */
export async function readOwnData(order: RestoreOrder, signal: AbortSignal): Promise<OwnData> {
  const { serverDir, dataDir } = order;
  if (serverDir !== undefined && (await exists(resetFlag(serverDir)))) {
    throw new SnapshotError('conflict', 'The cluster was reset already', {
      why: `${resetFlag(serverDir)} exists`,
      hint: 'Start the server normally, which removes that file; or remove it, if it is to be reset once more.',
    });
  }
  const path = join(dataDir, 'member/snap/db');
  if (!(await exists(path))) {
    throw new SnapshotError('not-found', `There are no data of etcd in ${dataDir}`, {
      hint: 'Correct --data-dir, or name a snapshot to restore.',
    });
  }
  return readData(path, signal);
}

/** The same for a reset that was cut off: the data it began with may have been put aside since. */
export async function readOldData({ places }: Journal, signal: AbortSignal): Promise<OwnData> {
  const aside = join(places.oldDir, 'member/snap/db');
  return readData((await exists(aside)) ? aside : join(places.dataDir, 'member/snap/db'), signal);
}

async function readData(path: string, signal: AbortSignal): Promise<OwnData> {
  const stats = await stat(path);
  const file = { path, size: stats.size, compressed: false, plainSize: stats.size, stats };
  return { file, sha256: '', database: await readDatabase(path, signal) };
}

/** An etcd of another minor version would change the data so that the server's own might refuse them. */
export function resetObstacles(
  found: { readonly database: DatabaseFacts } | undefined,
  etcd: string,
): Obstacle[] {
  if (found === undefined) return [];
  const written = writtenBy(found.database);
  if (written !== undefined && !isNewer(written, etcd) && !isNewer(etcd, written)) return [];
  return [
    {
      what: `the data are of etcd ${written ?? 'older than 3.5'}, and the etcd that would forget the peers is ${etcd}`,
      cure: 'name a folder with an etcd of the version of the server with --etcd-tools',
    },
  ];
}
