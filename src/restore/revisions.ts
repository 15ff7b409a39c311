import type { RestoreOrder } from '../config/restore-settings.ts';
import type { DatabaseFacts } from './database.ts';

/** What the log may hold beyond the database beside it, and etcd may go on to serve until it is stopped: far more than it can be. */
const UNSEEN = 1_000_000;

/**
 * What is added to the revision of a snapshot, so that nobody sees one again that was served before: neither after the snapshot was
 * taken, nor by the data that are replaced, which may come of a restore themselves. With `--bump-revision=0` nothing is added.
 * @param replaced undefined when there are none, or they cannot be read
 */
export function revisionsToAdd(
  { bumpRevision: wanted }: Pick<RestoreOrder, 'bumpRevision'>,
  snapshot: Pick<DatabaseFacts, 'revision'> | undefined,
  replaced: Pick<DatabaseFacts, 'revision'> | undefined,
  notes: string[],
): number {
  const { revision = 0 } = snapshot ?? {};
  if (wanted === 0 || replaced === undefined) return wanted;
  const served = replaced.revision + UNSEEN;
  if (served < revision + wanted) return wanted;
  notes.push(
    `the data that are there are of revision ${replaced.revision}, and the new one has to be above it`,
  );
  return served - revision + wanted;
}
