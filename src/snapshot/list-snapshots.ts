import { asError, isSnapshotError, SnapshotError } from '../errors.ts';
import type { SnapshotStore } from './ports.ts';
import type { Snapshot } from './snapshot.ts';

export interface ListResult {
  readonly snapshots: readonly Snapshot[];
  /** One per store that could not be listed; the others' snapshots are there all the same. */
  readonly failures: readonly SnapshotError[];
}

/** What each store holds, oldest first, equal times by name and then by store: the order of `k3s etcd-snapshot ls`. */
export async function listSnapshots(
  stores: readonly (() => Promise<SnapshotStore>)[],
  signal: AbortSignal,
): Promise<ListResult> {
  const outcomes = await Promise.allSettled(stores.map(async (open) => (await open()).list(signal)));
  const snapshots = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? outcome.value : []));
  const failures = outcomes.flatMap((outcome) =>
    outcome.status === 'rejected' ? [listFailure(outcome.reason)] : [],
  );
  return { snapshots: snapshots.toSorted(byAge), failures };
}

/** Oldest first, equal times by name and then by store. */
export function byAge(a: Snapshot, b: Snapshot): number {
  const time = a.createdAt.getTime() - b.createdAt.getTime();
  if (time !== 0) return time;
  return compare(a.name, b.name) || compare(a.location.store, b.location.store);
}

/** By code units, so that the order does not depend on the reader's locale. */
export function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

function listFailure(reason: unknown): SnapshotError {
  if (isSnapshotError(reason)) return reason;
  return new SnapshotError('io', 'A store cannot be listed', { cause: asError(reason) });
}
