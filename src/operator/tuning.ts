import type { Timers } from '../timers.ts';

/** What a test may set, and no user has to. */
export interface OperatorTuning {
  readonly timers?: Timers;
  readonly random?: () => number;
  /** Most that a scheduled run is put off. */
  readonly jitterMs?: number;
  /** Records on S3 that are known for a shorter time are not removed. */
  readonly youngMs?: number;
  /** How much older than a new upload a record on S3 must be, so that its object may go for it. */
  readonly apartMs?: number;
  /** Least time between looks that shall agree that much has vanished. */
  readonly guardMs?: number;
  readonly leaseDurationMs?: number;
  /** Longest that k3s takes from a look at its folder to the deletion of records that it misses there. */
  readonly k3sLooksMs?: number;
  /** Between two looks at a store: users must not go below ten seconds. */
  readonly intervalMs?: number;
}
