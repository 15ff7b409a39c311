import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import {
  AbortMultipartUploadCommand,
  ChecksumAlgorithm,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
} from '@aws-sdk/client-s3';
import { isSnapshotError, orAborted, SnapshotError, systemCode } from '../errors.ts';
import type { S3Connection } from './s3-client.ts';
import { type Made, makeWhereNone } from './s3-exclusive.ts';
import { isGoodStatus, isS3Error } from './s3-failure.ts';
import { s3Url } from './s3-keys.ts';
import { breaksOff, goesInCircles, noAnswer, noListing } from './s3-list.ts';
import { creationOf, customerKeyOf } from './s3-object-parameters.ts';

export interface OpenUpload {
  readonly key: string;
  readonly uploadId: string;
  readonly initiated: Date | undefined;
}

/** The object that an upload makes. */
interface Target {
  readonly key: string;
  /** What could not be done when it fails. */
  readonly doing: string;
}

/** S3 said no before it began anything. */
const REFUSED = [
  'unauthenticated',
  'forbidden',
  'not-found',
  'usage',
  'clock-skew',
  'protocol',
  'tls',
] as const;
/** Codes of libuv: no byte of the call has left this machine. */
const NEVER_SENT = ['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN'];

/** How often an upload is dropped whose parts still come in, and how long after each other. */
const DROPS = 5;
const DROP_AGAIN_MS = 200;

/** @param onDoubt told when a try failed in such a way that there may be an upload that nobody knows of @returns its id */
export async function beginUpload(
  s3: S3Connection,
  plan: Target & { readonly contentType: string; readonly metadata: Record<string, string> },
  onDoubt: () => void,
  signal: AbortSignal,
): Promise<string> {
  const input = {
    ...creationOf(s3.settings),
    Bucket: s3.settings.bucket,
    Key: plan.key,
    ContentType: plan.contentType,
    Metadata: plan.metadata,
    // Servers compare the parts' checksums at the end only when they were announced.
    ...(s3.settings.checksums === 'when-supported' ? { ChecksumAlgorithm: ChecksumAlgorithm.CRC32 } : {}),
  };
  const operation = 'CreateMultipartUpload';
  const { UploadId } = await s3.call(operation, plan.doing, signal, async (client, options) => {
    // Whoever stops waiting knows nothing of what S3 has begun, and may not wait to hear what the SDK calls it.
    signal.addEventListener('abort', onDoubt, { once: true });
    try {
      return await client.send(new CreateMultipartUploadCommand(input), options);
    } catch (error) {
      const refused = isSnapshotError(s3.translate(error, operation, plan.doing), ...REFUSED);
      if (!refused && !NEVER_SENT.includes(systemCode(error) ?? '')) onDoubt();
      throw error;
    } finally {
      signal.removeEventListener('abort', onDoubt);
    }
  });
  if (UploadId !== undefined && UploadId !== '') return UploadId;
  throw new SnapshotError('protocol', plan.doing, {
    why: `${s3.settings.endpoint} began an upload without naming it`,
    hint: 'Check that --s3-endpoint is an S3 server.',
  });
}

/** Makes the object out of its parts, where there is none of that name. */
export async function completeUpload(
  s3: S3Connection,
  plan: Target,
  UploadId: string,
  Parts: readonly CompletedPart[],
  signal: AbortSignal,
): Promise<Made<{ readonly etag: string | undefined }>> {
  const target = {
    ...customerKeyOf(s3.settings),
    Bucket: s3.settings.bucket,
    Key: plan.key,
    UploadId,
    MultipartUpload: { Parts: [...Parts] },
  };
  // As after no answer at all: there may be an object now, or still its parts, and the next try tells.
  const unclear = () => {
    const why = `what ${s3.settings.endpoint} answered does not say that there is an object now`;
    return noAnswer(plan.doing, why, true);
  };
  const making = { operation: 'CompleteMultipartUpload', key: plan.key, doing: plan.doing };
  return makeWhereNone(s3, making, signal, async (client, options, guard) => {
    try {
      const command = new CompleteMultipartUploadCommand({ ...target, ...guard });
      const { ETag, Key, Location } = await client.send(command, options);
      if (ETag === undefined && Key === undefined && Location === undefined) throw unclear();
      return { etag: ETag };
    } catch (error) {
      // An earlier try may have done it and only its answer got lost: then the object is there.
      if (isS3Error(error, 'NoSuchUpload')) return undefined;
      // A good status, and a body that breaks off or is something else.
      if (isGoodStatus(error)) throw unclear();
      throw error;
    }
  });
}

/** ETag of an object made of parts whose ETags are MD5 sums; undefined for servers whose are not. */
export function etagOfParts(parts: readonly CompletedPart[]): string | undefined {
  const sums = createHash('md5');
  for (const part of parts) {
    const hex = /^"?([0-9a-f]{32})"?$/i.exec(part.ETag ?? '')?.[1];
    if (hex === undefined) return undefined;
    sums.update(Buffer.from(hex, 'hex'));
  }
  return `"${sums.digest('hex')}-${parts.length}"`;
}

/** Drops an upload and its parts; one that is gone already is fine. @returns whether there was one */
export async function abortUpload(
  s3: S3Connection,
  key: string,
  uploadId: string,
  signal: AbortSignal,
): Promise<boolean> {
  const { bucket: Bucket } = s3.settings;
  const doing = `Cannot drop the unfinished upload of ${s3Url(s3.settings, key)}`;
  try {
    await s3.call('AbortMultipartUpload', doing, signal, (client, options) =>
      client.send(new AbortMultipartUploadCommand({ Bucket, Key: key, UploadId: uploadId }), options),
    );
    return true;
  } catch (error) {
    if (isS3Error(error, 'NoSuchUpload') || isSnapshotError(error, 'not-found')) return false;
    throw error;
  }
}

/**
 * Uploads in progress whose key begins with `prefix`, page by page. MinIO shows them only for a prefix that is a whole key.
 * A server without this call (`NotImplemented`) keeps no list that could be swept.
 */
export async function listUploads(
  s3: S3Connection,
  prefix: string,
  signal: AbortSignal,
): Promise<readonly OpenUpload[]> {
  const { bucket: Bucket } = s3.settings;
  const doing = `Cannot list the unfinished uploads of ${s3Url(s3.settings, prefix)}`;
  const found: OpenUpload[] = [];
  const seen = new Set<string>();
  let after: { KeyMarker?: string; UploadIdMarker?: string } = {};
  for (;;) {
    const input = { Bucket, Prefix: prefix, ...after };
    const page = await s3
      .call('ListMultipartUploads', doing, signal, (client, options) =>
        client.send(new ListMultipartUploadsCommand(input), options),
      )
      .catch((error: unknown) => {
        if (isS3Error(error, 'NotImplemented')) return undefined;
        throw error;
      });
    if (page !== undefined && page.IsTruncated === undefined && page.Bucket === undefined) {
      throw noListing(s3, doing);
    }
    for (const upload of page?.Uploads ?? []) {
      if (upload.Key === undefined || upload.UploadId === undefined) continue;
      found.push({ key: upload.Key, uploadId: upload.UploadId, initiated: upload.Initiated });
    }
    const { IsTruncated, NextKeyMarker, NextUploadIdMarker } = page ?? {};
    if (IsTruncated !== true) return found;
    if (NextKeyMarker === undefined || NextKeyMarker === '') throw breaksOff(s3, doing);
    const place = JSON.stringify([NextKeyMarker, NextUploadIdMarker]);
    if (seen.has(place)) throw goesInCircles(s3, doing);
    seen.add(place);
    after = {
      KeyMarker: NextKeyMarker,
      ...(NextUploadIdMarker === undefined || NextUploadIdMarker === ''
        ? {}
        : { UploadIdMarker: NextUploadIdMarker }),
    };
  }
}

/**
 * Drops uploads in progress of exactly this key. @param before only those that were begun before then, for another cluster may
 * be at an upload of the same key @returns how many went, and how many stay
 */
export async function abortUploadsOf(
  s3: S3Connection,
  key: string,
  signal: AbortSignal,
  before?: Date,
): Promise<{ readonly dropped: number; readonly left: number }> {
  let [dropped, left] = [0, 0];
  for (const { key: theirs, uploadId, initiated } of await listUploads(s3, key, signal)) {
    if (theirs !== key) continue;
    if (before !== undefined && (initiated === undefined || initiated >= before)) left += 1;
    else if (await abortUpload(s3, key, uploadId, signal)) dropped += 1;
  }
  return { dropped, left };
}

export interface Dropped {
  /** Whether there was such an upload. */
  readonly was: boolean;
  /** Whether nothing of it is left for certain: not every key may look. */
  readonly isGone: boolean;
}

/**
 * Drops an upload of which parts may still be on their way: those may arrive after it was dropped, and stay. So, as Amazon
 * documents it, that is repeated until no part is listed.
 */
export async function dropUpload(
  s3: S3Connection,
  key: string,
  uploadId: string,
  signal: AbortSignal,
): Promise<Dropped> {
  let was = false;
  for (let attempt = 1; ; attempt += 1) {
    const found = await abortUpload(s3, key, uploadId, signal);
    was ||= found;
    const left = found ? await hasParts(s3, key, uploadId, signal) : false;
    if (left !== true || attempt === DROPS) return { was, isGone: left === false };
    await orAborted(pause(DROP_AGAIN_MS), signal);
  }
}

/** Undefined when that is not to be seen. */
async function hasParts(
  s3: S3Connection,
  Key: string,
  UploadId: string,
  signal: AbortSignal,
): Promise<boolean | undefined> {
  const input = { Bucket: s3.settings.bucket, Key, UploadId, MaxParts: 1 };
  const doing = `Cannot look what is left of the unfinished upload of ${s3Url(s3.settings, Key)}`;
  try {
    const { Parts } = await s3.call('ListParts', doing, signal, (client, options) =>
      client.send(new ListPartsCommand(input), options),
    );
    return Parts !== undefined && Parts.length > 0;
  } catch (error) {
    if (isS3Error(error, 'NoSuchUpload') || isSnapshotError(error, 'not-found')) return false;
    if (isSnapshotError(error, 'forbidden') || isS3Error(error, 'NotImplemented')) return undefined;
    throw error;
  }
}
