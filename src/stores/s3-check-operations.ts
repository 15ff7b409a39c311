import { GetObjectCommand } from '@aws-sdk/client-s3';
import type { S3Settings } from '../config/types.ts';
import { isSnapshotError, SnapshotError } from '../errors.ts';
import type { CheckCause } from '../snapshot/store-check.ts';
import { type Canary, canaryPrefix, isForgotten, lookAt, removeForGood } from './s3-check-canary.ts';
import { CheckFailure, type CheckSteps, type Seen } from './s3-check-steps.ts';
import { make, ownLocksOver, type Trial } from './s3-check-trial.ts';
import { connectS3, type S3Tuning } from './s3-client.ts';
import { openObject } from './s3-download.ts';
import { isS3Error } from './s3-failure.ts';
import { folderPrefix } from './s3-keys.ts';
import { headObject, listObjects } from './s3-list.ts';
import { abortUpload, beginUpload, listUploads } from './s3-multipart.ts';

/** All that is done with snapshots, on canaries; or, where those could not be removed again, whether it is allowed. */
export async function checkOperations(trial: Trial, steps: CheckSteps, tuning: S3Tuning): Promise<void> {
  await steps.try('unfinished uploads', () => unfinishedUploads(trial));
  if (trial.onlyRights === undefined) await steps.try('put', () => put(trial, tuning));
  else steps.passOver('put', `only rights are tried, for ${trial.onlyRights}`);
  await steps.try('multipart', () => (trial.onlyRights === undefined ? multipart(trial) : beginOnly(trial)));
  const listed = await steps.try('list', () => list(trial));
  if (listed === undefined && trial.made.size === 0) {
    const why = 'without listing, S3 does not tell a missing object from one that is not to be seen';
    steps.passOver('head', why);
    steps.passOver('ranged get', why);
  } else {
    await steps.try('head', () => head(trial));
    await steps.try('ranged get', () => rangedGet(trial));
  }
  await steps.try('delete', () => deletion(trial));
}

/** What a sweep does: it finds uploads that a killed save has left, and drops them. */
async function unfinishedUploads(trial: Trial): Promise<Seen> {
  const { s3, canaries, signal } = trial;
  const now = s3.clock.now();
  return s3.timed('Cannot tidy up', signal, async (inner) => {
    const open = await listUploads(s3, canaryPrefix(s3.settings), inner);
    for (const { key, uploadId } of open) {
      if (isForgotten(s3.settings, key, now)) await abortUpload(s3, key, uploadId, inner);
    }
    await abortUpload(s3, canaries.large.key, 'none', inner);
    return { says: 'can be listed and dropped' };
  });
}

async function put(trial: Trial, tuning: S3Tuning): Promise<Seen> {
  const { small } = trial.canaries;
  try {
    await make(trial, small, 'Cannot put an object');
    return { says: `${small.bytes.length} bytes in one request` };
  } catch (error) {
    if (trial.needsOwnLock && isSnapshotError(error, 'forbidden')) throw lockedForGood(trial, error);
    throw (await whatHelps(trial, error, tuning)) ?? error;
  }
}

function lockedForGood(trial: Trial, cause: SnapshotError): CheckFailure {
  trial.onlyRights = 'the bucket would lock what is put';
  return new CheckFailure(
    {
      says: 'this bucket locks each object, and this key may not put one with a shorter lock, which could be removed again',
      cause: 'object-lock',
      cure: 'Allow s3:PutObject and, for the check alone, s3:PutObjectRetention.',
    },
    cause,
  );
}

/** Other settings under which the same object is taken tell what it is about the given ones. */
async function whatHelps(trial: Trial, error: unknown, tuning: S3Tuning): Promise<CheckFailure | undefined> {
  if (!isSnapshotError(error, 'forbidden', 'usage', 'protocol', 'corrupt')) return undefined;
  const { s3, canaries } = trial;
  for (const { settings, says, cause, cure } of othersOf(s3.settings)) {
    const other = connectS3(settings, s3.clock, { ...tuning, maxAttempts: 1 });
    try {
      await make(trial, canaries.small, 'Cannot put an object', other);
      return new CheckFailure({ says, cause, cure }, error);
    } catch (failure) {
      if (isSnapshotError(failure, 'aborted')) throw failure;
    } finally {
      other.close();
    }
  }
  return undefined;
}

interface Other {
  readonly settings: S3Settings;
  readonly says: string;
  readonly cause: CheckCause;
  readonly cure: string;
}

function othersOf(settings: S3Settings): readonly Other[] {
  const { checksums, objects, encryption, endpoint } = settings;
  const other = checksums === 'when-required' ? 'when-supported' : 'when-required';
  const plain = { storageClass: undefined, acl: undefined, tags: new Map<string, string>() };
  const asks = [
    ...(encryption.kind === 'none' ? [] : ['--s3-sse']),
    ...(objects.storageClass === undefined ? [] : ['--s3-storage-class']),
    ...(objects.acl === undefined ? [] : ['--s3-acl']),
    ...(objects.tags.size === 0 ? [] : ['--s3-tags']),
  ];
  return [
    {
      settings: { ...settings, checksums: other },
      says: `${endpoint} takes objects only with checksums ${other}`,
      cause: 'checksums',
      cure: `Use --s3-checksums=${other}.`,
    },
    ...(asks.length === 0
      ? []
      : [
          {
            settings: { ...settings, encryption: { kind: 'none' as const }, objects: plain },
            says: `${endpoint} takes objects, but not with what ${asks.join(', ')} asks for`,
            cause: 'object-settings' as const,
            cure: `Correct ${asks.join(', ')}, allow this key to ask for it, or leave it out.`,
          },
        ]),
  ];
}

async function multipart(trial: Trial): Promise<Seen> {
  const { large } = trial.canaries;
  await make(trial, large, 'Cannot upload an object in parts');
  return { says: `${large.bytes.length} bytes in two parts` };
}

async function beginOnly({ s3, canaries, signal }: Trial): Promise<Seen> {
  const { key } = canaries.large;
  const plan = {
    key,
    doing: 'Cannot begin an upload',
    contentType: 'application/octet-stream',
    metadata: {},
  };
  return s3.timed(plan.doing, signal, async (inner) => {
    await abortUpload(s3, key, await beginUpload(s3, plan, () => undefined, inner), inner);
    return { says: 'an upload can be begun, and dropped' };
  });
}

async function list({ s3, canaries, made, signal }: Trial): Promise<Seen> {
  const { settings, clock } = s3;
  return s3.timed('Cannot list the folder', signal, async (inner) => {
    const listed = await listObjects(s3, folderPrefix(settings), 'Cannot list the folder', inner);
    const found = listed.objects;
    for (const { key, bytes } of [canaries.small, canaries.large]) {
      if (!made.has(key) || found.get(key)?.size === bytes.length) continue;
      throw new SnapshotError('protocol', 'Cannot list the folder', {
        why: `${settings.endpoint} does not list what was just put`,
        hint: 'Records would come and go: use a server whose listings are up to date.',
      });
    }
    const forgotten = [...found.keys()].filter((key) => isForgotten(settings, key, clock.now()));
    for (const key of forgotten) await removeForGood(s3, key, inner);
    const count = [...found.keys()].filter((key) => !made.has(key)).length - forgotten.length;
    const tidied = forgotten.length === 0 ? '' : `; ${forgotten.length} of checks that were killed removed`;
    return { says: `${count} objects in the folder${tidied}` };
  });
}

/** One that is there; undefined: none is. */
function standing({ canaries, made }: Trial): Canary | undefined {
  return [canaries.large, canaries.small].find(({ key }) => made.has(key));
}

async function head(trial: Trial): Promise<Seen> {
  const { s3, canaries, signal } = trial;
  const doing = 'Cannot look up an object';
  const canary = standing(trial);
  return s3.timed(doing, signal, async (inner) => {
    if (canary === undefined) {
      await headObject(s3, canaries.small.key, doing, inner);
      return { says: 'allowed; there is no object to look up' };
    }
    await lookAt(s3, canary, doing, inner);
    return { says: 'size and metadata are as they were put' };
  });
}

async function rangedGet(trial: Trial): Promise<Seen> {
  const { s3, canaries, signal } = trial;
  const doing = 'Cannot read an object';
  const canary = standing(trial);
  if (canary === undefined) {
    await s3.timed(doing, signal, (inner) => readNothing(trial, canaries.small.key, doing, inner));
    return { says: 'allowed; there is no object to read' };
  }
  const { key, bytes } = canary;
  const range = { start: Math.max(0, bytes.length - 2048), end: bytes.length - 16 };
  const chunks: Uint8Array[] = [];
  for await (const chunk of await openObject(s3, key, doing, signal, range)) chunks.push(chunk);
  if (Buffer.concat(chunks).equals(bytes.subarray(range.start, range.end))) {
    return { says: `bytes ${range.start} to ${range.end - 1} are as they were put` };
  }
  throw new SnapshotError('corrupt', doing, {
    why: `${s3.settings.endpoint} gives other bytes than were asked for`,
    hint: 'Do not trust this S3 server, or what stands before it.',
  });
}

async function readNothing({ s3 }: Trial, Key: string, doing: string, signal: AbortSignal): Promise<void> {
  const input = { Bucket: s3.settings.bucket, Key, Range: 'bytes=0-1' };
  try {
    await s3.call('GetObject', doing, signal, (client, options) =>
      client.send(new GetObjectCommand(input), options),
    );
  } catch (error) {
    if (!isSnapshotError(error, 'not-found') || isS3Error(error, 'NoSuchBucket')) throw error;
  }
}

async function deletion(trial: Trial): Promise<Seen> {
  const { s3, made, signal } = trial;
  if (trial.deletionRefused !== undefined) throw trial.deletionRefused;
  if (trial.versionsStay) {
    return {
      says: 'what is deleted stays as an old version, which this key may not remove',
      cause: 'bucket',
      cure: 'Let a lifecycle rule of the bucket remove old versions; the check alone needs s3:DeleteObjectVersion.',
    };
  }
  const count = made.size;
  await ownLocksOver(trial, signal);
  for (const key of made) {
    const versions = await s3.timed('Cannot delete an object', signal, async (inner) => {
      const keepsVersions = await removeForGood(s3, key, inner);
      await assertGone(trial, key, inner);
      return keepsVersions;
    });
    trial.traits = { ...trial.traits, versions: versions || trial.traits.versions };
    made.delete(key);
    trial.perhaps.delete(key);
  }
  return { says: count === 0 ? 'allowed; there is no object to delete' : 'gone, and not listed any more' };
}

/** Some servers say yes and delete nothing. */
async function assertGone({ s3 }: Trial, key: string, signal: AbortSignal): Promise<void> {
  const found = await listObjects(s3, key, 'Cannot look for what was deleted', signal).catch(
    (error: unknown) => {
      if (isSnapshotError(error, 'forbidden')) return undefined;
      throw error;
    },
  );
  if (found?.objects.has(key) !== true) return;
  throw new SnapshotError('protocol', 'Cannot delete an object', {
    why: `${s3.settings.endpoint} says that it has deleted an object, and still lists it`,
    hint: 'Retention will not free any space: check the rules of the bucket, or use another server.',
  });
}
