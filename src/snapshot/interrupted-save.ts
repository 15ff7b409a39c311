import { abortError, SnapshotError } from '../errors.ts';
import { locationUrl, type Snapshot } from './snapshot.ts';

const missing = {
  upload: ['Interrupted during the upload to S3', 'Run the command again to have a snapshot on S3 too.'],
  records: [
    'Interrupted while the records were made',
    'The snapshot is good without one; run the command again to have one that Kubernetes knows of.',
  ],
} as const;

/** A save that ended with some copies whole and something left undone: the caller must not think that all is lost. */
export function interruptedSave(
  records: readonly Snapshot[],
  undone: keyof typeof missing,
  signal: AbortSignal,
): SnapshotError {
  const copies = records.filter((record) => record.failure === undefined);
  const [what, hint] = missing[undone];
  return new SnapshotError('aborted', what, {
    why: `whole for certain: ${copies.map(({ location }) => locationUrl(location)).join(', ')}`,
    hint,
    cause: abortError(signal),
  });
}
