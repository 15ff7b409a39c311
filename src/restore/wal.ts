import { lstat, readFile, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import type { RestoreOrder } from '../config/restore-settings.ts';
import { systemCode } from '../errors.ts';
import { exists } from './files.ts';
import type { Obstacle } from './order.ts';

/** Where etcd keeps its log, as far as that is another place than `member/wal` of its data folder. */
export interface LogPlace {
  readonly obstacles: readonly Obstacle[];
  readonly notes: readonly string[];
}

/**
 * A log in a folder of its own (`--wal-dir`) would meet data of another time after a restore, and etcd would not start on them, or
 * worse. A link at `member/wal` is put aside with the old data, so nothing can mix there. @throws system errors
 */
export async function whereTheLogIs(order: RestoreOrder): Promise<LogPlace> {
  const usual = join(order.dataDir, 'member/wal');
  const named = (await namedInManifest(order)) ?? (await namedInConfig(order));
  if (named !== undefined && (await real(named)) !== (await real(usual))) {
    return refused(`etcd keeps its log in ${named} (--wal-dir), and not in ${usual}`);
  }
  const stats = await lstat(usual).catch(absent);
  if (stats === undefined && (await exists(join(order.dataDir, 'member/snap/db')))) {
    return refused(`there is a database in ${order.dataDir}, and no log in ${usual}`);
  }
  if (stats?.isSymbolicLink() !== true || order.purpose === 'rejoin') return { obstacles: [], notes: [] };
  const note = `${usual} is a link to ${await real(usual)}: the new log comes to be in ${usual} itself`;
  return { obstacles: [], notes: [note] };
}

function refused(what: string): LogPlace {
  const cure =
    'with a --wal-dir, restore by hand with "etcdutl snapshot restore --wal-dir=…", and move the old log away with the old data; without one, move what is left of the data away and run this again';
  return { obstacles: [{ what, cure }], notes: [] };
}

async function namedInManifest({ manifestDir }: RestoreOrder): Promise<string | undefined> {
  if (manifestDir === undefined) return undefined;
  const text = await readFile(join(manifestDir, 'etcd.yaml'), 'utf8').catch(absent);
  return /--wal-dir[=\s,"']+([^\s,"']+)/.exec(text ?? '')?.[1];
}

/** K3s and RKE2 write the file that their etcd is started with into its data folder. */
async function namedInConfig({ serverDir, dataDir }: RestoreOrder): Promise<string | undefined> {
  if (serverDir === undefined) return undefined;
  const text = await readFile(join(dataDir, 'config'), 'utf8').catch(absent);
  const config: unknown = text === undefined ? undefined : parse(text);
  if (typeof config !== 'object' || config === null || !('wal-dir' in config)) return undefined;
  const named = config['wal-dir'];
  return typeof named === 'string' && named !== '' ? named : undefined;
}

/** The same for both spellings of a folder; of one that is not there, the spelling. */
async function real(path: string): Promise<string> {
  return (await realpath(path).catch(absent)) ?? path;
}

function absent(error: unknown): undefined {
  if (!['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '')) throw error;
}
