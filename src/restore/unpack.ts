import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFolder } from '../stores/atomic-write.ts';
import { moveTo } from './files.ts';
import { proveSnapshotFile, type SnapshotFile } from './snapshot-file.ts';

/** Of the plain snapshot in a work folder: whole and proven as soon as it is there. */
export function unpackedPath(workDir: string, sha256: string): string {
  return join(workDir, `snapshot-${sha256}`);
}

/** Whether a name in a work folder is of a snapshot that was unpacked, or was being. */
export function isUnpacked(name: string): boolean {
  return /^snapshot(?:\.part|-[0-9a-f]{64})$/.test(name);
}

/** Makes the work folder and unpacks a zip into it; returns the SHA-256 of the snapshot. @throws as `proveSnapshotFile` */
export async function unpackInto(file: SnapshotFile, workDir: string, signal: AbortSignal): Promise<string> {
  await makeFolder(workDir);
  const unfinished = join(workDir, 'snapshot.part');
  await rm(unfinished, { force: true });
  const sha256 = await proveSnapshotFile(file, unfinished, signal);
  {
    await using file = await open(unfinished, 'r');
    await file.sync();
  }
  await moveTo(unfinished, unpackedPath(workDir, sha256));
  return sha256;
}
