import { GetObjectLockConfigurationCommand } from '@aws-sdk/client-s3';
import { isSnapshotError, SnapshotError } from '../errors.ts';
import type { S3Connection } from './s3-client.ts';
import { isS3Error } from './s3-failure.ts';
import type { ObjectHead } from './s3-list.ts';

/** What a bucket does with each new object that brings no lock of its own. */
export interface DefaultLock {
  readonly mode: string;
  readonly days: number;
}

/** `none`: the bucket cannot lock anything; undefined: it can, and does so only when asked to. */
export type BucketLock = 'none' | DefaultLock | undefined;

const DAYS_OF_YEAR = 365;
const DAY_MS = 86_400_000;

/** The bucket's rule about locks. @throws SnapshotError `forbidden` when this key may not see it */
export async function readBucketLock(
  s3: S3Connection,
  doing: string,
  signal: AbortSignal,
): Promise<BucketLock> {
  const input = { Bucket: s3.settings.bucket };
  try {
    const { ObjectLockConfiguration: found } = await s3.call(
      'GetObjectLockConfiguration',
      doing,
      signal,
      (client, options) => client.send(new GetObjectLockConfigurationCommand(input), options),
    );
    if (found?.ObjectLockEnabled !== 'Enabled') return 'none';
    const { Mode, Days, Years } = found.Rule?.DefaultRetention ?? {};
    const days = Days ?? (Years === undefined ? 0 : Years * DAYS_OF_YEAR);
    return Mode === undefined || days <= 0 ? undefined : { mode: Mode, days };
  } catch (error) {
    // Servers that know no locks say so in several ways.
    if (isS3Error(error, 'ObjectLockConfigurationNotFoundError', 'NotImplemented')) return 'none';
    throw error;
  }
}

/**
 * Whether an object may go, by what it says itself. Most servers would take the deletion of a locked one, and only hide it
 * behind a delete marker: no list would show it any more, and it would still be there, and paid for.
 * @throws SnapshotError `locked`
 */
export function assertUnlocked(s3: S3Connection, head: ObjectHead | undefined, doing: string): void {
  const until = head?.lockedUntil;
  if (until === 'held' || (until !== undefined && until > s3.clock.now())) throw locked(doing, until);
}

/**
 * What a refused deletion means: that the object is locked, where the bucket's own rule says so. Not every server shows the
 * lock that comes from there in the object.
 * @returns the error itself when no lock is known
 */
export async function readRefusal(
  s3: S3Connection,
  error: unknown,
  head: ObjectHead | undefined,
  doing: string,
  signal: AbortSignal,
): Promise<unknown> {
  if (!isSnapshotError(error, 'forbidden') || head?.lastModified === undefined) return error;
  try {
    const lock = await readBucketLock(s3, doing, signal);
    if (typeof lock !== 'object') return error;
    const until = new Date(head.lastModified.getTime() + lock.days * DAY_MS);
    return until > s3.clock.now() ? locked(doing, until) : error;
  } catch (failure) {
    // What cannot be seen explains nothing; the refusal stands.
    return isSnapshotError(failure, 'aborted') ? failure : error;
  }
}

function locked(doing: string, until: Date | 'held'): SnapshotError {
  if (until === 'held') {
    return new SnapshotError('locked', doing, {
      why: 'it is locked until somebody lifts its legal hold',
      hint: 'Lift the hold on S3 if it is to go.',
    });
  }
  return new SnapshotError('locked', doing, {
    why: `it is locked until ${until.toISOString().slice(0, 19)}Z`,
    hint: 'Try again after that; object lock is a setting of the bucket.',
    retryable: true,
  });
}
