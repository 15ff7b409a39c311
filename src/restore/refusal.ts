import type { RestoreOrder } from '../config/restore-settings.ts';
import { isSnapshotError, SnapshotError } from '../errors.ts';
import type { Journal } from './journal.ts';
import type { Obstacle } from './order.ts';
import { rollbackCommand } from './words.ts';

/** Going on, a restore keeps to what it began with. @throws SnapshotError `conflict` when something else is said now */
export function assertNothingElseSaid(
  said: RestoreOrder,
  { purpose, member, peerUrl, places }: Journal,
): void {
  const { manifests } = places;
  // Who keeps its data, or joins others with none, is nobody else for being named.
  const named = purpose === 'restore' ? said : { member: undefined, peerUrl: undefined };
  const differences = [
    ['--member-name', named.member, member],
    ['--peer-url', named.peerUrl, peerUrl],
    // A folder without etcd's manifest is not kept in the journal.
    [
      '--manifests',
      said.manifestsGiven && manifests !== undefined ? said.manifestDir : undefined,
      manifests?.dir,
    ],
    ['--initial-cluster', said.initialCluster, manifests?.initialCluster],
  ].filter(([, now, then]) => now !== undefined && now !== then);
  const [first] = differences;
  if (first === undefined) return;
  throw new SnapshotError('conflict', `A restore of ${places.dataDir} is not finished, and began otherwise`, {
    why: differences
      .map(([flag, now, then]) => `${flag} is ${now}, and was ${then ?? 'not given'}`)
      .join('; '),
    hint: 'Leave that out to go on as it began; or put the old data back with "etcd-snapshot restore --rollback", and begin again.',
  });
}

/** What it comes to that a restore does not begin, or does not go on. */
export function untouched({ dataDir }: RestoreOrder, resuming: Journal | undefined): string {
  if (resuming === undefined) return `${dataDir} is not touched`;
  return `Everything stays as it is: the restore of ${dataDir} stopped in the step ${resuming.step}, and does not go on`;
}

/** All that stands in the way at once, so that nobody has to find it one by one. */
export function refusal(what: string, obstacles: readonly Obstacle[]): SnapshotError {
  const [first] = obstacles;
  if (obstacles.length === 1 && first !== undefined) {
    return new SnapshotError('conflict', what, { why: first.what, hint: `${first.cure}.` });
  }
  const list = obstacles.map((one) => `\n  - ${one.what}: ${one.cure}`).join('');
  return new SnapshotError('conflict', `${what}: ${obstacles.length} things stand in the way`, {
    why: list,
    hint: 'Deal with them, and run the same command again.',
  });
}

/** A step that failed, and how to go on. */
export function stopped(order: RestoreOrder, error: Error): SnapshotError {
  const known = isSnapshotError(error) ? error : undefined;
  return new SnapshotError(known?.code ?? 'io', `The restore stopped: ${error.message}`, {
    ...(known?.why === undefined ? {} : { why: known.why }),
    hint: `${known?.hint ?? ''} The same command goes on where it stopped; ${rollbackCommand(order)} puts everything back.`.trim(),
    cause: error,
  });
}
