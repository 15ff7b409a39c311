import { GetObjectLockConfigurationCommand } from '@aws-sdk/client-s3';
import type { S3Connection } from './s3-client.ts';
import { isS3Error } from './s3-failure.ts';

/** What a bucket does with each new object that brings no lock of its own. */
export interface DefaultLock {
  readonly mode: string;
  readonly days: number;
}

/** `none`: the bucket cannot lock anything; undefined: it can, and does so only when asked to. */
export type BucketLock = 'none' | DefaultLock | undefined;

const DAYS_OF_YEAR = 365;

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
