import { asError, isSnapshotError, SnapshotError } from '../errors.ts';
import type { SaveResult } from '../snapshot/save-snapshot.ts';

export interface ScheduledSnapshotParts {
  /** Saves to every store that can be used now. @throws SnapshotError when there is no copy anywhere */
  save(signal: AbortSignal): Promise<SaveResult>;
  /** Keeps the retention of the snapshot folder, and what was just saved in any case. @throws SnapshotError */
  prune(saved: SaveResult, signal: AbortSignal): Promise<void>;
  /** Told what came of the save: for the log, metrics and records. */
  onSaved(result: SaveResult): void;
  onFailed(error: SnapshotError): void;
  onPruneFailed(error: SnapshotError): void;
}

/** Milliseconds until the next attempt; undefined: wait for the schedule. */
export type Attempt = (attempt: number, signal: AbortSignal) => Promise<number | undefined>;

/** Waits before the second, third and fourth attempt: a member that restarts should not cost half a day of snapshots. */
const RETRY_AFTER_MS: readonly number[] = [60_000, 300_000, 900_000];

/**
 * One run of a schedule: save, then what is past retention goes. Nothing is pruned after a save that failed: the old
 * snapshots may be the last good ones.
 */
export function createScheduledSnapshot(parts: ScheduledSnapshotParts): Attempt {
  return async (attempt, signal) => {
    let saved: SaveResult;
    try {
      saved = await parts.save(signal);
      parts.onSaved(saved);
    } catch (error) {
      const failure = asSnapshotError(error, 'The scheduled snapshot failed');
      parts.onFailed(failure);
      if (signal.aborted) throw error;
      return failure.retryable ? RETRY_AFTER_MS[attempt] : undefined;
    }
    try {
      await parts.prune(saved, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      parts.onPruneFailed(asSnapshotError(error, 'Old snapshots could not be deleted'));
    }
    return undefined;
  };
}

function asSnapshotError(thrown: unknown, what: string): SnapshotError {
  return isSnapshotError(thrown) ? thrown : new SnapshotError('io', what, { cause: asError(thrown) });
}
