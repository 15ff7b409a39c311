import { type DeleteFailure, removeNames } from './delete-snapshots.ts';
import type { SnapshotStore } from './ports.ts';
import { planRetention, type RetentionPlan, type RetentionPolicy } from './retention.ts';
import type { Snapshot } from './snapshot.ts';

export interface PruneResult {
  /** What the policy says of each snapshot that it is about, and why. */
  readonly plan: RetentionPlan;
  /** Oldest first; what was gone already is not among them. */
  readonly deleted: readonly Snapshot[];
  /** What should be gone and is not. */
  readonly failures: readonly DeleteFailure[];
}

/**
 * Applies a retention policy to one store, from the oldest on, with what belongs to each snapshot.
 * @param dryRun only plan: nothing is deleted
 * @throws SnapshotError when the store cannot be listed; nothing was deleted then
 */
export async function pruneSnapshots(
  store: SnapshotStore,
  policy: RetentionPolicy,
  signal: AbortSignal,
  { dryRun = false }: { readonly dryRun?: boolean } = {},
): Promise<PruneResult> {
  if (!(policy.keep >= 1)) return { plan: { delete: [], keep: [] }, deleted: [], failures: [] };
  const plan = planRetention(await store.list(signal), policy);
  if (dryRun) return { plan, deleted: [], failures: [] };
  const doomed = plan.delete.map(({ snapshot }) => snapshot);
  const names = doomed.map(({ name }) => name);
  const { removed, failures } = await removeNames(store, names, signal);
  const gone = new Set(removed);
  return { plan, deleted: doomed.filter(({ name }) => gone.has(name)), failures };
}
