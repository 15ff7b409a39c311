import { abortError, isSnapshotError, SnapshotError } from '../errors.ts';
import { locationUrl, type Snapshot } from './snapshot.ts';

/** What was done when the signal came. */
interface InterruptedSave {
  readonly created: readonly Snapshot[];
  readonly failures: readonly SnapshotError[];
  /** Copies, and failures, that have no record. */
  readonly unrecorded: readonly Snapshot[];
}

/** A save that ended with some copies whole and something left undone: the caller must not think that all is lost. */
export function interruptedSave(save: InterruptedSave, signal: AbortSignal): SnapshotError {
  const { created, unrecorded } = save;
  const [what, hint] = undone(save);
  const copies = created.map(
    (copy) => `${locationUrl(copy.location)}${unrecorded.includes(copy) ? ' (without a record)' : ''}`,
  );
  return new SnapshotError('aborted', what, {
    why: `whole for certain: ${copies.join(', ')}`,
    hint,
    cause: abortError(signal),
  });
}

function undone({ created, unrecorded, failures }: InterruptedSave): readonly [what: string, hint: string] {
  if (failures.some((failure) => isSnapshotError(failure, 'aborted'))) {
    return created.some(({ location }) => location.store === 'local')
      ? ['Interrupted during the upload to S3', 'Run the command again to have a snapshot on S3 too.']
      : [
          'Interrupted before the file on disk was finished',
          'Run the command again to have a snapshot on disk too.',
        ];
  }
  return unrecorded.length > 0
    ? [
        'Interrupted while the records were made',
        'The snapshot is good without one; run the command again to have one that Kubernetes knows of.',
      ]
    : [
        'Interrupted before everything was written that belongs beside the snapshot',
        'The snapshot is good without; run the command again to have one with all of its metadata.',
      ];
}
