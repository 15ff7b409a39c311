import { asError, isSnapshotError, SnapshotError } from '../errors.ts';
import type { S3Connection } from './s3-client.ts';
import { headObject, type ObjectHead } from './s3-list.ts';
import { differenceOf, hasSameSum, ownerOf, wasReplaced } from './s3-ownership.ts';
import { removeObject } from './s3-remove.ts';
import type { Uploaded } from './s3-upload.ts';

/**
 * What is stored must be what was sent. What is not is removed, but only when it says itself that this upload has made it.
 * @returns what is stored
 * @throws SnapshotError `corrupt`, whatever becomes of the object · `conflict` when another's object is in its place
 */
export async function compareStored(
  s3: S3Connection,
  key: string,
  sent: Uploaded,
  doing: string,
  signal: AbortSignal,
): Promise<ObjectHead> {
  const head = sent.there ?? (await headObject(s3, key, doing, signal));
  if (head === undefined) throw damaged(doing, 'the object is not there after its upload');
  const difference = differenceOf(sent, head);
  const owner = ownerOf(sent, head);
  if (difference === undefined && (owner !== 'other' || hasSameSum(sent, head) === true)) return head;
  if (owner === 'other') throw wasReplaced(doing, head, difference ?? 'the stored object is another one');
  const why = difference ?? 'the stored object is another one';
  if (owner === 'unknown') {
    throw damaged(doing, `${why}; it is left as it is, for nothing in it says who has made it`);
  }
  try {
    await removeObject(s3, key, doing, signal);
  } catch (error) {
    const failure = asError(error);
    const reason = isSnapshotError(failure) ? (failure.why ?? failure.message) : failure.message;
    throw damaged(doing, `${why}; the object could not be removed: ${reason}`, failure);
  }
  throw damaged(doing, `${why}; the object has been removed`);
}

function damaged(doing: string, why: string, left?: Error): SnapshotError {
  const trust = 'do not trust this S3 server or what stands before it.';
  return new SnapshotError('corrupt', doing, {
    why,
    hint: `${left === undefined ? 'Try again' : 'Remove the object by hand and try again'}; if it stays so, ${trust}`,
    retryable: true,
    ...(left === undefined ? {} : { besides: [left] }),
  });
}
