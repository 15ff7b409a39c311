import { isSnapshotError, SnapshotError } from '../errors.ts';
import { type DeleteFailure, removeNames } from './delete-snapshots.ts';
import type { SnapshotStore } from './ports.ts';
import {
  isSubject,
  planRetention,
  RECORDED_LAST,
  type RetentionPlan,
  type RetentionPolicy,
  recordedAfterTheNewest,
} from './retention.ts';
import type { Snapshot } from './snapshot.ts';

const LOOK_UPS_AT_ONCE = 8;
const NOTHING: RetentionPlan = { delete: [], keep: [] };

export interface PruneResult {
  /** What the policy says of each snapshot that it is about, and why. */
  readonly plan: RetentionPlan;
  /** Oldest first; what was gone already is not among them. */
  readonly deleted: readonly Snapshot[];
  /** What is past the policy and still there. */
  readonly failures: readonly DeleteFailure[];
  /** Of what could not be looked at, and so did not count. */
  readonly warnings: readonly Error[];
}

export interface PruneOptions {
  /** Only plan: nothing is deleted. */
  readonly dryRun?: boolean;
  /** When a snapshot was recorded, in milliseconds, all by one clock; NaN for what has no record, as all have unless given. */
  readonly recordedAt?: (snapshot: Snapshot) => number;
  /** Asked right before one goes, for all that may have changed since the plan was made. Refuses by throwing. */
  readonly mayGo?: (snapshot: Snapshot, signal: AbortSignal) => Promise<void>;
}

/**
 * Applies a retention policy to one store, from the oldest on, with what belongs to each snapshot. What the decision rests on
 * is looked up anew, and so is each snapshot right before it goes (ADR 83).
 * @throws SnapshotError when the store cannot be listed; nothing was deleted then
 */
export async function pruneSnapshots(
  store: SnapshotStore,
  policy: RetentionPolicy,
  signal: AbortSignal,
  { dryRun = false, recordedAt = () => Number.NaN, mayGo }: PruneOptions = {},
): Promise<PruneResult> {
  if (!(policy.keep >= 1)) return { plan: NOTHING, deleted: [], failures: [], warnings: [] };
  const listed = await store.list(signal);
  const latest = recordedAfterTheNewest(listed, policy, recordedAt);
  const careful = {
    ...policy,
    spared: ({ name }: Snapshot) => (latest.has(name) ? RECORDED_LAST : undefined),
  };
  const warnings: Error[] = [];
  const planned = planRetention(listed, careful);
  const plan = await confirmPlan(store, planned, careful, (error) => warnings.push(error), signal);
  if (dryRun) return { plan, deleted: [], failures: [], warnings };
  const doomed = plan.delete.map(({ snapshot }) => snapshot);
  const names = doomed.map(({ name }) => name);
  const guarded = {
    kind: store.kind,
    async remove(name: string, inner: AbortSignal): Promise<boolean> {
      const now = await store.stat(name, inner);
      if (now === undefined) return false;
      if (!isSubject(now, policy)) throw replaced(now);
      await mayGo?.(now, inner);
      return store.remove(name, inner);
    },
  };
  const { removed, failures } = await removeNames(guarded, names, signal);
  const gone = new Set(removed);
  return { plan, deleted: doomed.filter(({ name }) => gone.has(name)), failures, warnings };
}

/**
 * The same plan on what the store says now of all those that count, and not on what a listing or a record said of them: what is
 * gone, or another's, drives nothing out. Nor does what may not be looked at, one object of other keys: all others are pruned.
 */
export async function confirmPlan(
  store: Pick<SnapshotStore, 'stat'>,
  plan: RetentionPlan,
  retention: RetentionPolicy,
  onUnseen: (error: SnapshotError) => void,
  signal: AbortSignal,
): Promise<RetentionPlan> {
  if (plan.delete.length === 0) return plan;
  const there: Snapshot[] = [];
  const look = async ({ name }: Snapshot) => {
    try {
      return await store.stat(name, signal);
    } catch (error) {
      if (!isSnapshotError(error, 'forbidden', 'protocol')) throw error;
      onUnseen(error);
      return undefined;
    }
  };
  for (let at = 0; at < plan.keep.length; at += LOOK_UPS_AT_ONCE) {
    const some = plan.keep.slice(at, at + LOOK_UPS_AT_ONCE);
    const found = await Promise.all(some.map(({ snapshot }) => look(snapshot)));
    there.push(...found.filter((snapshot) => snapshot !== undefined));
  }
  return planRetention([...there, ...plan.delete.map(({ snapshot }) => snapshot)], retention);
}

function replaced({ name, clusterId }: Snapshot): SnapshotError {
  return new SnapshotError('foreign', `Snapshot ${name} is past retention and stays`, {
    why: `it was replaced since it was listed${clusterId === undefined ? '' : `; now it is of cluster ${clusterId}`}`,
    hint: 'Look at it with etcd-snapshot ls, and prune again.',
  });
}
