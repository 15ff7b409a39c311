import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { NewSnapshot, SnapshotFolder } from '../../src/snapshot/ports.ts';
import { createLocalStore } from '../../src/stores/local-store.ts';
import { scratchDir } from './scratch.ts';

const nodeName = 'node-1';
export const name = `on-demand-${nodeName}-1730308816`;

export function storeIn(dir: string, isDefaultDir = false): SnapshotFolder {
  return createLocalStore({ dir, isDefaultDir, nodeName });
}

export function newSnapshot(change: Partial<NewSnapshot> = {}): NewSnapshot {
  const createdAt = new Date('2024-10-30T17:20:16Z');
  return { name, nodeName, createdAt, compressed: false, isFollowed: true, expectedSize: 1056, ...change };
}

/** A folder `snapshots` in a folder of its own, since metadata lies beside it. */
export async function emptyFolder() {
  const scratch = await scratchDir();
  const dir = join(scratch.path, 'snapshots');
  await mkdir(dir, { mode: 0o700 });
  const store = storeIn(dir);
  return { dir, scratch, store, [Symbol.asyncDispose]: () => scratch[Symbol.asyncDispose]() };
}

export async function modeOf(path: string): Promise<string> {
  return ((await stat(path)).mode & 0o777).toString(8);
}
