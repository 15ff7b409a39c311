import { abortError, asError, isSnapshotError, SnapshotError } from '../errors.ts';
import { assertSnapshotName } from './naming.ts';
import type { SnapshotStore } from './ports.ts';

/** Trouble with the store as a whole: what fails for one snapshot will fail for the next, after the same wait. */
const STORE_WIDE = [
  'unavailable',
  'timeout',
  'tls',
  'unauthenticated',
  'clock-skew',
  'read-only',
  'aborted',
] as const;

export interface DeleteResult {
  /** In the order asked for; a name once for each store that had it. */
  readonly deleted: readonly DeletedSnapshot[];
  /** Names that every store was asked for, and none had. */
  readonly notFound: readonly string[];
  /** What was asked for and not done. */
  readonly failures: readonly DeleteFailure[];
}

export interface DeletedSnapshot {
  readonly name: string;
  readonly store: SnapshotStore['kind'];
}

export interface DeleteFailure extends DeletedSnapshot {
  readonly error: SnapshotError;
}

/**
 * Deletes snapshots, and what belongs to them, by name: each in each store, whatever becomes of the others.
 * @throws SnapshotError `usage` when one of the names is not a plain file name; nothing was deleted then
 */
export async function deleteSnapshots(
  stores: readonly SnapshotStore[],
  names: readonly string[],
  signal: AbortSignal,
): Promise<DeleteResult> {
  for (const name of names) assertSnapshotName(name);
  const wanted = [...new Set(names)];
  const results = await Promise.all(stores.map((store) => removeNames(store, wanted, signal)));
  const touched = new Set(
    results.flatMap(({ removed, failures }) => [...removed, ...failures.map(({ name }) => name)]),
  );
  return {
    deleted: wanted.flatMap((name) =>
      stores.flatMap(({ kind }, at) => (results[at]?.removed.includes(name) ? [{ name, store: kind }] : [])),
    ),
    notFound: wanted.filter((name) => !touched.has(name)),
    failures: results.flatMap(({ failures }) => failures),
  };
}

export interface Removal {
  /** Names that were there, and are not any more. */
  readonly removed: readonly string[];
  /** One per name that was not removed: its own trouble, or that of the store, which then was not asked any further. */
  readonly failures: readonly DeleteFailure[];
}

/** One after the other. Never rejects; what the signal cut off is a failure `aborted`. */
export async function removeNames(
  store: Pick<SnapshotStore, 'kind' | 'remove'>,
  names: readonly string[],
  signal: AbortSignal,
): Promise<Removal> {
  const removed: string[] = [];
  const failures: DeleteFailure[] = [];
  let end: SnapshotError | undefined;
  for (const name of names) {
    if (signal.aborted) end ??= abortError(signal);
    try {
      if (end !== undefined) throw end;
      if (await store.remove(name, signal)) removed.push(name);
    } catch (thrown) {
      const error = asRemovalError(name, thrown);
      failures.push({ name, store: store.kind, error });
      if (isSnapshotError(error, ...STORE_WIDE)) end = error;
    }
  }
  return { removed, failures };
}

function asRemovalError(name: string, thrown: unknown): SnapshotError {
  if (isSnapshotError(thrown)) return thrown;
  return new SnapshotError('io', `Snapshot ${name} cannot be deleted`, { cause: asError(thrown) });
}
