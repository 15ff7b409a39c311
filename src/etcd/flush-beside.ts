import { type FileHandle, open } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { asError, orAborted, SnapshotError, systemCode } from '../errors.ts';

/** Between two calls. Much of a large file is written in that time, and a call that finds nothing to do costs nothing. */
const EVERY_MS = 25;

/**
 * Sends a file to its disk while another program writes it, so that the fsync at that program's end finds little left to do;
 * see ADR 108. The file need not exist yet.
 * @returns ends it. Rejects with SnapshotError `disk-full` | `io` when the disk told one of our calls: the kernel tells that once, and
 *   not to the other program then; and with `aborted`, without waiting for the disk
 */
export function flushBeside(path: string, signal: AbortSignal): () => Promise<void> {
  const stop = new AbortController();
  const ended = flushUntil(path, stop.signal).then(
    () => undefined,
    (error: unknown) => asError(error),
  );
  return async () => {
    stop.abort();
    const failure = await orAborted(ended, signal);
    if (failure === undefined) return;
    const full = ['ENOSPC', 'EDQUOT'].includes(systemCode(failure) ?? '');
    throw new SnapshotError(full ? 'disk-full' : 'io', `${path} cannot be written to the disk`, {
      hint: full
        ? 'Free some space on that disk, and run the same command again.'
        : 'Check the disk: the kernel log (dmesg) may say more.',
      cause: failure,
    });
  };
}

async function flushUntil(path: string, stop: AbortSignal): Promise<void> {
  let file: FileHandle | undefined;
  try {
    while (!stop.aborted) {
      file ??= await open(path, 'r').catch(notThere);
      await file?.datasync();
      await pause(EVERY_MS, undefined, { signal: stop }).catch(onlyStopped);
    }
  } finally {
    await file?.close();
  }
}

function notThere(error: unknown): undefined {
  if (systemCode(error) !== 'ENOENT') throw error;
}

function onlyStopped(error: unknown): void {
  if (asError(error).name !== 'AbortError') throw error;
}
