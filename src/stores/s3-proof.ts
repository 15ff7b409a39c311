import { SnapshotError } from '../errors.ts';

/** What S3 says of bytes that it took. */
export interface Taken {
  readonly ETag?: string | undefined;
  readonly ServerSideEncryption?: string | undefined;
  readonly SSECustomerAlgorithm?: string | undefined;
}

/** The MD5 sum in an answer; undefined where its ETag is none: that of encrypted bytes may look like one and is not. */
export function md5InETag(answer: Taken): string | undefined {
  if (answer.ServerSideEncryption !== undefined || answer.SSECustomerAlgorithm !== undefined)
    return undefined;
  return /^(?:W\/)?"?([0-9a-f]{32})"?$/i.exec(answer.ETag ?? '')?.[1]?.toLowerCase();
}

/**
 * Holds the server's sum of what it took against our own: not every server checks the `Content-MD5` that came with it.
 * @param doing what could not be done when they differ @throws SnapshotError `corrupt`
 */
export function assertTaken(answer: Taken, md5: Buffer, doing: string): void {
  const etag = md5InETag(answer);
  if (etag === undefined || etag === md5.toString('hex')) return;
  throw new SnapshotError('corrupt', doing, {
    why: `the server took other bytes than were sent: their MD5 is ${etag} instead of ${md5.toString('hex')}`,
    hint: 'Try again; if it stays so, do not trust this S3 server or what stands before it.',
    retryable: true,
  });
}
