import { type FSWatcher, watch } from 'node:fs';
import { stat } from 'node:fs/promises';
import { systemCode } from '../errors.ts';
import { rest, type Timers } from '../timers.ts';
import { sidecarFolder } from './local-sidecars.ts';

/** How often it is looked whether the folder is still the same one: it may be made, removed, or mounted over. */
const LOOK_EVERY_MS = 5_000;

export interface FolderWatchOptions {
  readonly timers: Timers;
  readonly onChange: () => void;
  readonly signal: AbortSignal;
}

/**
 * Calls `onChange` whenever something happens in the snapshot folder or to the metadata beside it, or when one of the two
 * becomes another folder; resolves when `signal` fires. A hint and no more: events may be lost or doubled, as on network
 * file systems, where a regular look has to do.
 */
export async function watchSnapshotFolder(dir: string, options: FolderWatchOptions): Promise<void> {
  await Promise.all([dir, sidecarFolder(dir)].map((one) => watchFolder(one, options)));
}

async function watchFolder(dir: string, { timers, onChange, signal }: FolderWatchOptions): Promise<void> {
  let watched: { readonly id: string; readonly watcher: FSWatcher } | undefined;
  try {
    while (!signal.aborted) {
      const id = await identity(dir);
      if (id !== watched?.id) {
        watched?.watcher.close();
        watched = id === undefined ? undefined : { id, watcher: begin(dir, onChange) };
        onChange();
      }
      await rest(timers, LOOK_EVERY_MS, signal);
    }
  } finally {
    watched?.watcher.close();
  }
}

function begin(dir: string, onChange: () => void): FSWatcher {
  const watcher = watch(dir, onChange);
  // The folder was removed, or the kernel has no watches left: the regular look goes on.
  watcher.on('error', () => watcher.close());
  return watcher;
}

/** Device and inode; undefined while there is no such folder, or none that may be looked at. */
async function identity(dir: string): Promise<string | undefined> {
  try {
    const stats = await stat(dir, { bigint: true });
    return stats.isDirectory() ? `${stats.dev}:${stats.ino}` : undefined;
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return undefined;
  }
}
