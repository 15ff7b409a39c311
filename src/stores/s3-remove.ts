import { DeleteObjectCommand } from '@aws-sdk/client-s3';
import { asError, isSnapshotError, SnapshotError } from '../errors.ts';
import { looksLikeSnapshot } from '../snapshot/naming.ts';
import type { S3Connection } from './s3-client.ts';
import { s3Url, sidecarKey, snapshotKey } from './s3-keys.ts';
import { headObject } from './s3-list.ts';
import { assertUnlocked, readRefusal } from './s3-lock.ts';

/**
 * Removes a snapshot and its sidecar. @returns whether there was one
 * @throws SnapshotError `foreign` | `locked`; nothing was removed then
 */
export async function removeSnapshot(
  s3: S3Connection,
  name: string,
  doing: string,
  signal: AbortSignal,
): Promise<boolean> {
  const { settings } = s3;
  const keys = { object: snapshotKey(settings, name), sidecar: sidecarKey(settings, name) };
  const ofSidecar = `Cannot delete the metadata of ${s3Url(settings, keys.object)}`;
  const head = await headObject(s3, keys.object, doing, signal);
  if (head !== undefined && !looksLikeSnapshot(name, head.size)) throw notASnapshot(doing);
  assertUnlocked(s3, head, doing);
  // Made a moment later, it is locked a moment longer; without its object nobody would come back for it.
  if (head?.lockedUntil !== undefined) {
    assertUnlocked(s3, await headObject(s3, keys.sidecar, ofSidecar, signal), ofSidecar);
  }
  try {
    await removeObject(s3, keys.object, doing, signal);
  } catch (error) {
    throw await readRefusal(s3, error, head, doing, signal);
  }
  await removeObject(s3, keys.sidecar, ofSidecar, signal);
  return head !== undefined;
}

/** One that is gone already is fine. @throws SnapshotError */
export async function removeObject(
  s3: S3Connection,
  key: string,
  doing: string,
  signal: AbortSignal,
): Promise<void> {
  const input = { Bucket: s3.settings.bucket, Key: key };
  try {
    await s3.call('DeleteObject', doing, signal, (client, options) =>
      client.send(new DeleteObjectCommand(input), options),
    );
  } catch (error) {
    const { cause } = asError(error);
    const isBucket = cause instanceof Error && cause.name === 'NoSuchBucket';
    if (!isSnapshotError(error, 'not-found') || isBucket) throw error;
  }
}

function notASnapshot(doing: string): SnapshotError {
  return new SnapshotError('foreign', doing, {
    why: 'the object is not a snapshot',
    hint: 'Look at it, and remove it by other means if it may go.',
  });
}
