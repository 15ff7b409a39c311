import { watch } from 'node:fs';
import { stat } from 'node:fs/promises';
import { SnapshotError, systemCode } from '../errors.ts';
import { rest, type Timers } from '../timers.ts';
import { sidecarFolder } from './local-sidecars.ts';

/** How often it is looked whether the folder is still the same one: it may be made, removed, or mounted over. */
const LOOK_EVERY_MS = 5_000;

interface Watcher {
  on(event: 'error', listener: () => void): unknown;
  close(): void;
}

/** Whoever writes a file pauses for less. */
const QUIET_MS = 200;

export interface FolderWatchOptions {
  readonly timers: Timers;
  readonly onChange: () => void;
  /** What keeps changes from being told, or undefined once they are. Told once per change. */
  readonly onState: (error: SnapshotError | undefined) => void;
  readonly signal: AbortSignal;
  /** `fs.watch`, unless given. */
  readonly open?: (dir: string, onEvent: (name: string | null) => void) => Watcher;
}

/**
 * Calls `onChange` when something has happened in the snapshot folder or to the metadata beside it, and that file is left
 * alone since: one that is still being written says nothing true of itself. Likewise when one of the two becomes another
 * folder. Hidden and unfinished files are nobody's snapshots, and change nothing. Resolves when `signal` fires. A hint and no more: events may be lost or doubled, as on network
 * file systems, where a regular look has to do. The same holds while the kernel refuses to watch, which is tried again.
 */
export async function watchSnapshotFolder(dir: string, options: FolderWatchOptions): Promise<void> {
  const refusals = new Map<string, SnapshotError>();
  let told: string | undefined;
  const tell = (one: string, refusal: SnapshotError | undefined) => {
    if (refusal === undefined) refusals.delete(one);
    else refusals.set(one, refusal);
    const [first] = refusals.values();
    if (first?.message === told) return;
    told = first?.message;
    options.onState(first);
  };
  await Promise.all([dir, sidecarFolder(dir)].map((one) => watchFolder(one, options, tell)));
}

interface Watched {
  readonly id: string;
  readonly close: () => void;
  /** The kernel has given up on it. */
  broken: boolean;
}

async function watchFolder(
  dir: string,
  options: FolderWatchOptions,
  tell: (dir: string, refusal: SnapshotError | undefined) => void,
): Promise<void> {
  const { timers, onChange, signal } = options;
  let watched: Watched | undefined;
  try {
    while (!signal.aborted) {
      const id = await identity(dir);
      if (id !== watched?.id || watched?.broken === true) {
        watched?.close();
        watched = undefined;
        try {
          if (id !== undefined) watched = begin(dir, id, options);
          tell(dir, undefined);
        } catch (error) {
          // One that is gone again by now is what the regular look is for.
          tell(dir, systemCode(error) === 'ENOENT' ? undefined : refused(dir, error));
        }
        onChange();
      }
      await rest(timers, LOOK_EVERY_MS, signal);
    }
  } finally {
    watched?.close();
  }
}

function begin(dir: string, id: string, options: FolderWatchOptions): Watched {
  const { timers, onChange, open = (path, onEvent) => watch(path, (_kind, name) => onEvent(name)) } = options;
  const quiet = new Map<string, Disposable>();
  const watcher = open(dir, (file) => {
    const name = file ?? '';
    if (name.startsWith('.') || name.endsWith('.part')) return;
    quiet.get(name)?.[Symbol.dispose]();
    const timer = timers.after(QUIET_MS, () => {
      quiet.delete(name);
      onChange();
    });
    quiet.set(name, timer);
  });
  const watched: Watched = {
    id,
    close() {
      watcher.close();
      for (const timer of quiet.values()) timer[Symbol.dispose]();
    },
    broken: false,
  };
  watcher.on('error', () => {
    watched.broken = true;
  });
  return watched;
}

function refused(dir: string, cause: unknown): SnapshotError {
  return new SnapshotError('io', `Changes in ${dir} are seen late: the kernel does not tell of them`, {
    ...(systemCode(cause) === 'ENOSPC' || systemCode(cause) === 'EMFILE'
      ? { why: `the limits of inotify on this node are used up (${systemCode(cause)})` }
      : {}),
    hint: 'Raise fs.inotify.max_user_watches and fs.inotify.max_user_instances with sysctl; until then the folder is looked at every five seconds.',
    retryable: true,
    cause,
  });
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
