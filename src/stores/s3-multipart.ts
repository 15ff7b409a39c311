import { createHash } from 'node:crypto';
import {
  AbortMultipartUploadCommand,
  ChecksumAlgorithm,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  ListMultipartUploadsCommand,
} from '@aws-sdk/client-s3';
import { isSnapshotError, SnapshotError, systemCode } from '../errors.ts';
import type { S3Connection } from './s3-client.ts';
import { isS3Error } from './s3-failure.ts';
import { s3Url } from './s3-keys.ts';
import { goesInCircles, noAnswer, noListing } from './s3-list.ts';
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

/** Makes the object out of its parts. @returns its ETag */
export async function completeUpload(
  s3: S3Connection,
  plan: Target,
  UploadId: string,
  Parts: readonly CompletedPart[],
  signal: AbortSignal,
): Promise<string | undefined> {
  const target = {
    ...customerKeyOf(s3.settings),
    Bucket: s3.settings.bucket,
    Key: plan.key,
    UploadId,
  };
  try {
    return await s3.call('CompleteMultipartUpload', plan.doing, signal, async (client, options) => {
      const whole = { ...target, MultipartUpload: { Parts: [...Parts] } };
      const { ETag, Key, Location } = await client.send(new CompleteMultipartUploadCommand(whole), options);
      // As after no answer at all: there may be an object now, or still its parts, and the next try tells.
      if (ETag !== undefined || Key !== undefined || Location !== undefined) return ETag;
      const why = `what ${s3.settings.endpoint} answered does not say that there is an object now`;
      throw noAnswer(plan.doing, why, true);
    });
  } catch (error) {
    if (!isS3Error(error, 'NoSuchUpload')) throw error;
    // The first try may have done it and only its answer got lost: then the object is there, and the caller compares it.
    const etag = etagOfParts(Parts);
    if (etag === undefined) throw error;
    // Under a key that is not the server's own, ETags are no sums of the bytes; then the size has to do.
    return ['sse-kms', 'sse-c'].includes(s3.settings.encryption.kind) ? undefined : etag;
  }
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
    if (IsTruncated !== true || NextKeyMarker === undefined || NextKeyMarker === '') return found;
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

/** Drops every upload in progress of exactly this key. @returns how many */
export async function abortUploadsOf(s3: S3Connection, key: string, signal: AbortSignal): Promise<number> {
  let dropped = 0;
  for (const upload of await listUploads(s3, key, signal)) {
    if (upload.key !== key) continue;
    if (await abortUpload(s3, key, upload.uploadId, signal)) dropped += 1;
  }
  return dropped;
}
