import { HeadObjectCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import type { S3Settings } from '../config/types.ts';
import { isSnapshotError, SnapshotError } from '../errors.ts';
import { parseCreatedAt } from '../snapshot/naming.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import type { S3Connection } from './s3-client.ts';
import { folderPrefix, s3Location, s3Url } from './s3-keys.ts';
import { fromUserMetadata } from './s3-metadata.ts';
import { readCall } from './s3-read.ts';

export interface ObjectHead {
  readonly size: number;
  readonly etag: string | undefined;
  readonly lastModified: Date | undefined;
  readonly metadata: Readonly<Record<string, string>> | undefined;
  /** Undefined: it is stored as it came, so that an ETag that looks like an MD5 sum is one. */
  readonly encryption: string | undefined;
  /** Undefined where the bucket keeps no versions. */
  readonly versionId: string | undefined;
  /** Until when its lock keeps it, as far as this key may see that; `held`: until somebody lifts the legal hold. */
  readonly lockedUntil: Date | 'held' | undefined;
}

export interface ListedObject {
  readonly size: number;
  readonly etag: string | undefined;
}

interface Listing {
  /** By key. */
  readonly objects: ReadonlyMap<string, ListedObject>;
  /** Prefixes of what lies deeper. */
  readonly folders: ReadonlySet<string>;
}

/** What is directly under `prefix`, page by page. */
export async function listObjects(
  s3: S3Connection,
  prefix: string,
  doing: string,
  signal: AbortSignal,
): Promise<Listing> {
  const objects = new Map<string, ListedObject>();
  const folders = new Set<string>();
  const seen = new Set<string>();
  let token: string | undefined;
  do {
    const input = {
      Bucket: s3.settings.bucket,
      Prefix: prefix,
      // What lies deeper comes as one line per folder instead of one per object.
      Delimiter: '/',
      ...(token === undefined ? {} : { ContinuationToken: token }),
    };
    const page = await s3.call('ListObjectsV2', doing, signal, (client, options) =>
      client.send(new ListObjectsV2Command(input), options),
    );
    if (page.IsTruncated === undefined && page.Name === undefined) throw noListing(s3, doing);
    for (const { Key, Size, ETag } of page.Contents ?? []) {
      // What is left out here would pass for gone.
      if (Key === undefined || Size === undefined) throw noListing(s3, doing);
      objects.set(Key, { size: Size, etag: bareEtag(ETag) });
    }
    for (const { Prefix } of page.CommonPrefixes ?? []) folders.add(Prefix ?? '');
    const next = page.IsTruncated === false ? undefined : page.NextContinuationToken || undefined;
    if (next === undefined && page.IsTruncated === true) throw breaksOff(s3, doing);
    if (next !== undefined && seen.has(next)) throw goesInCircles(s3, doing);
    seen.add(next ?? '');
    token = next;
  } while (token !== undefined);
  return { objects, folders };
}

/** Whatever answers 200 with a page of its own must not pass for an empty folder. */
export function noListing(s3: S3Connection, doing: string): SnapshotError {
  return noAnswer(doing, `what ${s3.settings.endpoint} answered is no listing of a bucket`);
}

/** Nor for an object without bytes. */
function noObject(s3: S3Connection, doing: string): SnapshotError {
  return noAnswer(doing, `what ${s3.settings.endpoint} answered does not tell the size of an object`);
}

/** A listing that ends before its end: whatever it has not named would pass for gone. */
export function breaksOff(s3: S3Connection, doing: string): SnapshotError {
  return noAnswer(doing, `${s3.settings.endpoint} says that there is more to list, and not where it goes on`);
}

/** A listing that comes back to where it was would never end. */
export function goesInCircles(s3: S3Connection, doing: string): SnapshotError {
  return noAnswer(doing, `${s3.settings.endpoint} lists the same page again and again`);
}

/** Whoever answered like that is no S3 server. */
export function noAnswer(doing: string, why: string, retryable = false): SnapshotError {
  const hint = 'Check that --s3-endpoint is an S3 server, and what stands before it.';
  return new SnapshotError('protocol', doing, { why, hint, retryable });
}

/** What an object says of itself, or undefined when it is not there. */
export async function headObject(
  s3: S3Connection,
  key: string,
  doing: string,
  signal: AbortSignal,
): Promise<ObjectHead | undefined> {
  try {
    const head = await readCall(s3, 'HeadObject', doing, signal, (client, options, customerKey) =>
      client.send(new HeadObjectCommand({ ...customerKey, Bucket: s3.settings.bucket, Key: key }), options),
    );
    if (head.ContentLength === undefined) throw noObject(s3, doing);
    return {
      size: head.ContentLength,
      etag: head.ETag,
      lastModified: head.LastModified,
      metadata: head.Metadata,
      encryption: head.SSECustomerAlgorithm ?? head.ServerSideEncryption,
      versionId: head.VersionId,
      lockedUntil: head.ObjectLockLegalHoldStatus === 'ON' ? 'held' : head.ObjectLockRetainUntilDate,
    };
  } catch (error) {
    if (isSnapshotError(error, 'not-found')) return undefined;
    throw error;
  }
}

/** To HEAD a missing object, a missing bucket and some wrong keys look the same: this call tells. @throws SnapshotError */
export async function assertBucket(s3: S3Connection, doing: string, signal: AbortSignal): Promise<void> {
  const input = { Bucket: s3.settings.bucket, Prefix: folderPrefix(s3.settings), MaxKeys: 1 };
  await s3.call('ListObjectsV2', doing, signal, (client, options) =>
    client.send(new ListObjectsV2Command(input), options),
  );
}

/** An ETag without quotes and weakness mark: servers and their listings differ in both. */
export function bareEtag(etag: string | undefined): string | undefined {
  return etag?.replace(/^W\/|"/g, '');
}

export function toSnapshot(
  settings: S3Settings,
  name: string,
  head: ObjectHead,
  sidecar: Readonly<Record<string, string>> | undefined,
): Snapshot {
  const { nodeName, facts } = fromUserMetadata(head.metadata);
  const etag = bareEtag(head.etag);
  const modified = Math.floor((head.lastModified?.getTime() ?? 0) / 1000) * 1000;
  return {
    name,
    nodeName,
    createdAt: parseCreatedAt(name) ?? new Date(modified),
    size: head.size,
    compressed: name.endsWith('.zip'),
    location: s3Location(settings, name),
    ...facts,
    ...(etag === undefined ? {} : { etag }),
    ...(sidecar === undefined ? {} : { metadata: sidecar }),
  };
}

export function listing(settings: S3Settings): string {
  return `Cannot list ${s3Url(settings, settings.folder)}`;
}
