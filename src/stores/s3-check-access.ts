import { GetBucketVersioningCommand } from '@aws-sdk/client-s3';
import type { S3Settings } from '../config/types.ts';
import { isSnapshotError, orAborted } from '../errors.ts';
import { addressOf } from './s3-address.ts';
import { deleteObject } from './s3-check-canary.ts';
import { CheckFailure, type CheckSteps, type Seen } from './s3-check-steps.ts';
import type { Trial } from './s3-check-trial.ts';
import { connectS3, type S3Connection, type S3Tuning } from './s3-client.ts';
import { credentialsOf } from './s3-credentials.ts';
import { isS3Error } from './s3-failure.ts';

/** @returns whether there are keys */
export async function checkKeys(
  s3: S3Connection,
  env: NonNullable<S3Tuning['env']>,
  steps: CheckSteps,
  signal: AbortSignal,
): Promise<boolean> {
  const { settings } = s3;
  const seen = await steps.try('keys', async () => {
    if (settings.keys !== undefined) {
      return { says: `given${settings.keys.sessionToken === undefined ? '' : ', with a session token'}` };
    }
    const find = credentialsOf(settings, env);
    const found = await s3.timed('Cannot get keys for S3', signal, async (inner) =>
      typeof find === 'function' ? orAborted(find(), inner) : find,
    );
    const until = found.expiration?.toISOString();
    return { says: `found by the AWS SDK${until === undefined ? '' : `, good until ${until}`}` };
  });
  return seen !== undefined;
}

/**
 * The first request with keys: whether signature, region, way of addressing and bucket are right. It deletes what is not
 * there, which shows before all else whether the check may remove what it makes.
 * @returns whether the bucket can be used at all
 */
export async function checkBucket(trial: Trial, steps: CheckSteps, tuning: S3Tuning): Promise<boolean> {
  const { s3 } = trial;
  const { settings } = s3;
  const seen = await steps.try('bucket', async (): Promise<Seen> => {
    try {
      await probe(trial, s3);
    } catch (error) {
      const other = isSnapshotError(error, 'not-found', 'usage', 'unauthenticated', 'protocol');
      if (other && (await answersOtherwise(trial, tuning))) throw addressedWrongly(settings, error);
      throw error;
    }
    const region = s3.region();
    const says = `${settings.bucket} in ${region}, addressed as ${isPathStyle(settings) ? 'host/bucket' : 'bucket.host'}`;
    if (region === settings.region) return { says };
    return {
      says: `${says}; the settings say ${settings.region}`,
      cause: 'region',
      cure: `Use --s3-region=${region}: it spares a request that is refused.`,
    };
  });
  return seen !== undefined;
}

/** @throws SnapshotError for all but a deletion that is denied, which is an answer too */
async function probe(trial: Trial, s3: S3Connection): Promise<void> {
  const { key } = trial.canaries.small;
  const { signal } = trial;
  const doing = 'Cannot delete an object';
  let marker: string | undefined;
  try {
    const answer = await s3.timed(doing, signal, (inner) => deleteObject(s3, key, undefined, doing, inner));
    if (answer.DeleteMarker === true) marker = answer.VersionId;
    // Whatever comes between, a signal for one, it is removed at the end.
    if (marker !== undefined) trial.markers.set(key, marker);
  } catch (error) {
    // Most servers are pleased when it is not there; some say so.
    if (isSnapshotError(error, 'not-found') && !isS3Error(error, 'NoSuchBucket')) return;
    if (!isSnapshotError(error, 'forbidden')) throw error;
    trial.onlyRights = 'this key may not delete';
    trial.deletionRefused = error;
    return;
  }
  const versions = marker !== undefined || (await keepsVersions(s3, signal));
  trial.traits = { ...trial.traits, versions };
  if (!versions) return;
  try {
    // Of what was never there no version can be missed.
    await s3.timed(doing, signal, (inner) => deleteObject(s3, key, marker ?? 'null', doing, inner));
    trial.markers.delete(key);
  } catch (error) {
    if (isSnapshotError(error, 'not-found')) {
      trial.markers.delete(key);
      return;
    }
    if (!isSnapshotError(error, 'forbidden')) throw error;
    trial.versionsStay = true;
    trial.onlyRights = 'the bucket keeps old versions, and this key may not remove them';
    trial.markers.delete(key);
    if (marker !== undefined) trial.left.push(`a delete marker of ${key}: ${trial.onlyRights}`);
  }
}

/** False also when that is not to be seen. */
async function keepsVersions(s3: S3Connection, signal: AbortSignal): Promise<boolean> {
  const input = { Bucket: s3.settings.bucket };
  try {
    const { Status } = await s3.call('GetBucketVersioning', 'Cannot look', signal, (client, options) =>
      client.send(new GetBucketVersioningCommand(input), options),
    );
    return Status === 'Enabled';
  } catch (error) {
    if (isSnapshotError(error, 'aborted')) throw error;
    return false;
  }
}

function isPathStyle(settings: S3Settings): boolean {
  return addressOf(settings, settings.region).pathStyle;
}

/** Whether the server understands the other way of addressing. */
async function answersOtherwise(trial: Trial, tuning: S3Tuning): Promise<boolean> {
  const { settings, clock } = trial.s3;
  const lookup = isPathStyle(settings) ? 'dns' : 'path';
  const other = connectS3({ ...settings, lookup }, clock, { ...tuning, maxAttempts: 1 });
  try {
    await probe(trial, other);
    return true;
  } catch (error) {
    if (isSnapshotError(error, 'aborted')) throw error;
    return false;
  } finally {
    other.close();
  }
}

function addressedWrongly(settings: S3Settings, cause: unknown): CheckFailure {
  const path = isPathStyle(settings);
  const [wanted, used] = path ? ['bucket.host', 'host/bucket'] : ['host/bucket', 'bucket.host'];
  return new CheckFailure(
    {
      says: `${settings.endpoint} understands ${wanted}, and is asked for ${used}`,
      cause: 'path-style',
      cure: `Use --s3-bucket-lookup-type=${path ? 'dns' : 'path'}.`,
    },
    cause,
  );
}
