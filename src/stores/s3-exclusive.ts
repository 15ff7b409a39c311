import type { PutObjectCommandInput, S3Client } from '@aws-sdk/client-s3';
import { asError, isSnapshotError, SnapshotError } from '../errors.ts';
import type { S3CallOptions, S3Connection } from './s3-client.ts';
import { readFailure } from './s3-failure.ts';
import { headObject, type ObjectHead } from './s3-list.ts';
import { nameIsTakenUnseen } from './s3-ownership.ts';

/** Makes a request succeed only where there is no object of that name. */
export type Guard = Pick<PutObjectCommandInput, 'IfNoneMatch'>;

/** Either what S3 has answered, or what there is under the name already. */
export type Made<T> =
  | { readonly answer: T; readonly there?: never }
  | { readonly there: ObjectHead; readonly answer?: never };

export interface Making {
  /** S3's name of the call that makes the object. */
  readonly operation: string;
  readonly key: string;
  /** What could not be done when it fails. */
  readonly doing: string;
}

/** Amazon's words for two requests about one name at the same moment: the next try meets what came of the other. */
const AT_ONCE = ['ConditionalRequestConflict', 'OperationAborted'];

/** What servers call a header that they do not know, or look for the object that must not be there. */
const UNGUARDED = [
  'NotImplemented',
  'NotSupported',
  'MethodNotAllowed',
  'InvalidArgument',
  'InvalidRequest',
  'NoSuchKey',
];

/** Those that do not know `If-None-Match` and say so. */
const withoutGuard = new WeakSet<S3Connection>();

/**
 * Makes an object where there is none, in one request: names are not unique across clusters that share a folder, and between a
 * look and a write there would be time for another's. Servers that refuse the header, or say twice that there is an object where
 * none is to be seen, are looked at first.
 * Our own earlier try, whose answer got lost, is found like another's object: the caller tells them apart.
 * @param make resolves to undefined when it cannot tell whether its object is there
 * @throws SnapshotError `conflict` when there is neither an answer nor an object
 */
export async function makeWhereNone<T>(
  s3: S3Connection,
  making: Making,
  signal: AbortSignal,
  make: (client: S3Client, options: S3CallOptions, guard: Guard) => Promise<T | undefined>,
): Promise<Made<T>> {
  const { key, doing } = making;
  let knowsGuard = !withoutGuard.has(s3);
  for (let tries = 0; knowsGuard && tries < 2; tries += 1) {
    const outcome = await send(s3, making, signal, { IfNoneMatch: '*' }, make);
    if (typeof outcome !== 'string') return outcome;
    if (outcome === 'unguarded') knowsGuard = false;
    else {
      const head = await look(s3, key, doing, outcome === 'taken', signal);
      if (head !== undefined) return { there: head };
      if (outcome === 'unclear') throw isNowhere(doing);
    }
  }
  const before = await headObject(s3, key, doing, signal);
  if (before !== undefined) return { there: before };
  const outcome = await send(s3, making, signal, {}, make);
  if (typeof outcome !== 'string') {
    // What else is refused (an ACL, a tag) fails without the header as well. Who was only seen to contradict itself is asked again.
    if (!knowsGuard) withoutGuard.add(s3);
    return outcome;
  }
  const head = await look(s3, key, doing, outcome === 'taken', signal);
  if (head !== undefined) return { there: head };
  throw outcome === 'taken' ? wasThere(doing) : isNowhere(doing);
}

/** `taken`: there is an object · `unclear`: there may be one · `unguarded`: the header is not known here. */
type Outcome<T> = Made<T> | 'taken' | 'unclear' | 'unguarded';

async function send<T>(
  s3: S3Connection,
  { operation, key, doing }: Making,
  signal: AbortSignal,
  guard: Guard,
  make: (client: S3Client, options: S3CallOptions, guard: Guard) => Promise<T | undefined>,
): Promise<Outcome<T>> {
  let isAtOnce = false;
  try {
    return await s3.call(operation, doing, signal, async (client, options): Promise<Outcome<T>> => {
      isAtOnce = false;
      try {
        const answer = await make(client, options, guard);
        return answer === undefined ? 'unclear' : { answer };
      } catch (error) {
        const { name, status } = readFailure(error);
        // All are answers, and asking again would not change them.
        if (status === 412 || status === 304 || name === 'PreconditionFailed') return 'taken';
        isAtOnce = AT_ONCE.includes(name);
        if (isAtOnce) throw atOnce(doing);
        if (guard.IfNoneMatch !== undefined && (status === 501 || UNGUARDED.includes(name)))
          return 'unguarded';
        throw error;
      }
    });
  } catch (error) {
    if (!isAtOnce || signal.aborted) throw error;
    // Of the last try nobody meets what came of the other, and an upload in parts may be gone with it.
    const head = await headObject(s3, key, doing, signal);
    if (head === undefined) throw error;
    return { there: head };
  }
}

/** @param isTaken that there is an object is known, so that only whose it is may stay unseen */
async function look(
  s3: S3Connection,
  key: string,
  doing: string,
  isTaken: boolean,
  signal: AbortSignal,
): Promise<ObjectHead | undefined> {
  try {
    return await headObject(s3, key, doing, signal);
  } catch (error) {
    // Not to be seen with these keys, or only with another's key of encryption.
    if (isTaken && isSnapshotError(error, 'forbidden', 'protocol'))
      throw nameIsTakenUnseen(doing, asError(error));
    throw error;
  }
}

function atOnce(doing: string): SnapshotError {
  return new SnapshotError('conflict', doing, {
    why: 'something else makes or deletes an object of that name at the same moment',
    hint: 'Try again; if clusters share the bucket, give each a folder of its own (--s3-folder).',
    retryable: true,
  });
}

function wasThere(doing: string): SnapshotError {
  return new SnapshotError('conflict', doing, {
    why: 'there was an object of that name a moment ago, and it is gone again',
    hint: 'Find out what else makes and deletes objects in this folder, then try again.',
    retryable: true,
  });
}

function isNowhere(doing: string): SnapshotError {
  return new SnapshotError('conflict', doing, {
    why: 'what was uploaded is gone, and so is the object that it was to become: somebody has dropped it',
    hint: 'Look for a lifecycle rule, or another program, that drops unfinished uploads or deletes here; then try again.',
    retryable: true,
  });
}
