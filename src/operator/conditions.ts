import { isSnapshotError, SnapshotError } from '../errors.ts';

export const UNTRIED = notYet('The settings of S3 have just come, and have not been tried yet');

export function notYet(what: string): SnapshotError {
  return new SnapshotError('unavailable', what, { retryable: true });
}

export function overtime(): SnapshotError {
  return new SnapshotError('aborted', 'The snapshot was ended', {
    why: 'the operator was told to end, and the grace period is over',
    hint: 'Give it more time with --grace-period, and the pod with terminationGracePeriodSeconds.',
  });
}

/** An API server that has not answered yet, or does not now: nobody has to change anything for it. */
export function ofTheMoment(error: SnapshotError): boolean {
  return isSnapshotError(error, 'unavailable', 'timeout');
}
