import type { SnapshotError } from '../errors.ts';
import type { Snapshot } from './snapshot.ts';

export interface SaveProgress {
  readonly store: 'local' | 's3';
  /** Bytes safely taken by the store so far. */
  readonly bytes: number;
  /** Best guess of the bytes to come in all. */
  readonly total: number;
}

export interface SaveResult {
  /** Every copy that is whole, proven and durable. */
  readonly created: readonly Snapshot[];
  /** What was asked for and not done; the copies in `created` stand all the same. */
  readonly failures: readonly SnapshotError[];
  /** What did not work and does not make the snapshot worse: records, events, sidecars. */
  readonly warnings: readonly Error[];
}
