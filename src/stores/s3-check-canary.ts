import { randomBytes } from 'node:crypto';
import { DeleteObjectCommand } from '@aws-sdk/client-s3';
import type { S3Settings } from '../config/types.ts';
import { asError, isSnapshotError, SnapshotError } from '../errors.ts';
import type { SnapshotBytes } from '../snapshot/ports.ts';
import type { S3Connection } from './s3-client.ts';
import { folderPrefix, s3Url } from './s3-keys.ts';
import { headObject } from './s3-list.ts';
import { abortUploadsOf } from './s3-multipart.ts';
import { uploadGrowing } from './s3-upload.ts';

/** Hidden, so that no list takes a canary for a snapshot. */
const MARK = '.s3-check-';
/** S3's least for all parts but the last. */
const PART_SIZE = 5 * 1024 * 1024;
const BEHIND_FIRST_PART = 1024;
const SMALL_SIZE = 544;
/** A check is over long before. */
const FORGOTTEN_AFTER_S = 3600;
const UNSEEN = 'unseen';
/** User metadata, as snapshots carry it. */
const STAMP = { 'k3s-node-name': 's3-check' };

export interface Canary {
  readonly key: string;
  readonly bytes: Buffer;
}

export interface Canaries {
  /** Goes in one request. */
  readonly small: Canary;
  /** Goes in two parts. */
  readonly large: Canary;
}

export function newCanaries(settings: S3Settings, now: Date): Canaries {
  const seconds = Math.floor(now.getTime() / 1000);
  const name = `${folderPrefix(settings)}${MARK}${seconds}-${randomBytes(4).toString('hex')}`;
  return {
    small: { key: `${name}-small`, bytes: randomBytes(SMALL_SIZE) },
    large: { key: `${name}-parts`, bytes: randomBytes(PART_SIZE + BEHIND_FIRST_PART) },
  };
}

export function canaryPrefix(settings: S3Settings): string {
  return `${folderPrefix(settings)}${MARK}`;
}

/** Whether a key is of a check that was killed and could not tidy up. */
export function isForgotten(settings: S3Settings, key: string, now: Date): boolean {
  const prefix = canaryPrefix(settings);
  const [, seconds] = /^(\d+)-[0-9a-f]{8}-(?:small|parts)$/.exec(key.slice(prefix.length)) ?? [];
  if (!key.startsWith(prefix) || seconds === undefined) return false;
  return now.getTime() / 1000 - Number(seconds) > FORGOTTEN_AFTER_S;
}

/** Uploads a canary in the way of every snapshot. @param doing what could not be done when it fails */
export async function release(
  s3: S3Connection,
  { key, bytes }: Canary,
  doing: string,
  signal: AbortSignal,
): Promise<void> {
  const now = s3.clock.now();
  const identity = { name: key, nodeName: 's3-check', createdAt: now, compressed: false };
  await s3.timedByClock(doing, signal, (inner, time) =>
    uploadGrowing(
      s3,
      { ...identity, bytes: inMemory(bytes), facts: Promise.resolve({}) },
      {
        key,
        doing,
        contentType: 'application/octet-stream',
        metadata: async () => STAMP,
        partSize: PART_SIZE,
        concurrency: 2,
        journalDir: undefined,
        time,
      },
      inner,
    ),
  );
}

function inMemory(content: Buffer): SnapshotBytes {
  return {
    expectedSize: content.length,
    proven: Promise.resolve(content.length),
    read: async (into, position) => content.copy(into, 0, position),
  };
}

/** Looks a canary up. @throws SnapshotError when what is there is not what was put */
export async function lookAt(
  s3: S3Connection,
  { key, bytes }: Canary,
  doing: string,
  signal: AbortSignal,
): Promise<void> {
  const head = await headObject(s3, key, doing, signal);
  const stamp = Object.entries(head?.metadata ?? {}).find(([name]) => name.toLowerCase() === 'k3s-node-name');
  if (head?.size === bytes.length && stamp?.[1] === STAMP['k3s-node-name']) return;
  const lacks = head === undefined ? 'the object is not there' : 'its size or its metadata are others';
  throw new SnapshotError('corrupt', doing, {
    why: `${s3.settings.endpoint} does not show what was put: ${lacks}`,
    hint: 'Do not trust this S3 server, or what stands before it.',
  });
}

/**
 * Deletes an object, and where the bucket keeps versions also what is left of it.
 * @returns whether the bucket keeps versions
 * @throws SnapshotError when it is still there, or an old version of it
 */
export async function removeForGood(s3: S3Connection, key: string, signal: AbortSignal): Promise<boolean> {
  const doing = `Cannot delete ${s3Url(s3.settings, key)}`;
  const version = await versionOf(s3, key, signal);
  const answer = await deleteObject(s3, key, undefined, doing, signal);
  if (answer.DeleteMarker !== true) return false;
  if (version === UNSEEN) {
    // If nothing was there, nothing is there then; else what is there can be found again.
    if (answer.VersionId !== undefined)
      await deleteObject(s3, key, answer.VersionId, `${doing}, its delete marker`, signal);
    throw new SnapshotError('forbidden', doing, {
      why: 'the bucket keeps an old version, and this key may not see which one',
      hint: 'Allow s3:GetObject to this key.',
    });
  }
  for (const id of new Set([version, answer.VersionId])) {
    if (id !== undefined) await deleteObject(s3, key, id, `${doing}, version ${id}`, signal);
  }
  return true;
}

export async function deleteObject(
  s3: S3Connection,
  key: string,
  VersionId: string | undefined,
  doing: string,
  signal: AbortSignal,
): Promise<{ readonly DeleteMarker?: boolean | undefined; readonly VersionId?: string | undefined }> {
  const input = { Bucket: s3.settings.bucket, Key: key, ...(VersionId === undefined ? {} : { VersionId }) };
  return s3.call('DeleteObject', doing, signal, (client, options) =>
    client.send(new DeleteObjectCommand(input), options),
  );
}

/** `UNSEEN` when this key may not look. */
async function versionOf(s3: S3Connection, key: string, signal: AbortSignal): Promise<string | undefined> {
  try {
    return (await headObject(s3, key, 'Cannot look up a version', signal))?.versionId;
  } catch (error) {
    if (isSnapshotError(error, 'forbidden')) return UNSEEN;
    throw error;
  }
}

/** Drops what unfinished uploads of that key have left. @returns why that is not sure, when it is not */
export async function dropUploadsOf(
  s3: S3Connection,
  key: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    await abortUploadsOf(s3, key, signal);
    return undefined;
  } catch (error) {
    return isSnapshotError(error) ? (error.why ?? error.message) : asError(error).message;
  }
}
