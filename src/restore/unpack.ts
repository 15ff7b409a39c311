import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { proveSnapshotFile, type SnapshotFile } from './snapshot-file.ts';

/** Of the plain snapshot in a work folder: whole and proven as soon as it is there. */
export function unpackedPath(workDir: string, sha256: string): string {
  return join(workDir, `snapshot-${sha256}`);
}

/** Makes the work folder and unpacks a zip into it; returns the SHA-256 of the snapshot. @throws as `proveSnapshotFile` */
export async function unpackInto(file: SnapshotFile, workDir: string, signal: AbortSignal): Promise<string> {
  await mkdir(workDir, { recursive: true, mode: 0o700 });
  const unfinished = join(workDir, 'snapshot.part');
  await rm(unfinished, { force: true });
  const sha256 = await proveSnapshotFile(file, unfinished, signal);
  await rename(unfinished, unpackedPath(workDir, sha256));
  return sha256;
}
