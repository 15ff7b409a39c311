import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { snapshotOf } from './apply.ts';
import { type DatabaseFacts, readDatabase } from './database.ts';
import { exists, realFolder } from './files.ts';
import { isBehind, type Journal } from './journal.ts';
import type { SnapshotFile } from './snapshot-file.ts';

const DATABASE = 'member/snap/db';

/** Whether a restore that was cut off is of the snapshot at that path. */
export async function isOf({ snapshot }: Journal, path: string | undefined): Promise<boolean> {
  return snapshot !== undefined && path !== undefined && snapshot.path === (await realFolder(path));
}

/** Whether its data were made and proven, and the snapshot at that path, which it was of, is there no more. */
export async function canDoWithout(journal: Journal, path: string): Promise<boolean> {
  if (journal.purpose !== 'restore' || !isBehind(journal, 'prove')) return false;
  return (await isOf(journal, path)) && !(await exists(path));
}

/**
 * What is known of a snapshot that has gone since its data were made and proven: what was noted of it, and what is in the data.
 * Its members are those of the old data, since the new ones have one only. @throws SnapshotError of data that cannot be read
 */
export async function readMadeData(
  journal: Journal,
  old: DatabaseFacts | undefined,
  signal: AbortSignal,
): Promise<{ readonly file: SnapshotFile; readonly sha256: string; readonly database: DatabaseFacts }> {
  const { workDir, dataDir } = journal.places;
  const { path, sha256, compressed, plainSize } = snapshotOf(journal);
  const inWork = join(workDir, 'data', DATABASE);
  const made = (await exists(inWork)) ? inWork : join(dataDir, DATABASE);
  const database = await readDatabase(made, signal);
  const file = { path, size: plainSize, compressed, plainSize, stats: await stat(made) };
  return { file, sha256, database: { ...database, members: old?.members ?? database.members } };
}
