import { ListMultipartUploadsCommand, ListObjectVersionsCommand } from '@aws-sdk/client-s3';
import type { S3Settings } from '../../src/config/types.ts';
import type { CheckedStep, StoreCheck } from '../../src/snapshot/store-check.ts';
import { checkS3 } from '../../src/stores/s3-check.ts';
import type { S3Tuning } from '../../src/stores/s3-client.ts';
import type { FaultFront } from './fault-front.ts';
import type { S3Server } from './s3-server.ts';

/** The bucket of the checks. */
export const BUCKET = 'backups';
const never = new AbortController().signal;

const quick = { firstRetryMs: 1, env: {}, onStep: () => undefined };
export const check = (settings: S3Settings, tuning: S3Tuning = {}): Promise<StoreCheck> =>
  checkS3(settings, { ...quick, ...tuning }, never);

export function step({ steps }: StoreCheck, name: CheckedStep['step']): CheckedStep | undefined {
  return steps.find((one) => one.step === name);
}

export function failures({ steps }: StoreCheck): string[] {
  return steps.filter(({ outcome }) => outcome === 'fail').map((one) => one.step);
}

/** All that is in a bucket, old versions, delete markers and unfinished uploads included. */
export async function remains(s3: S3Server, bucket = BUCKET): Promise<string[]> {
  const client = s3.client();
  const { Versions = [], DeleteMarkers = [] } = await client.send(
    new ListObjectVersionsCommand({ Bucket: bucket }),
  );
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }));
  return [...Versions, ...DeleteMarkers, ...Uploads].map(({ Key }) => Key ?? '').toSorted();
}

/** MinIO lists unfinished uploads only by their whole key, which the front has seen. */
export async function openUploads(s3: S3Server, { requests }: FaultFront): Promise<string[]> {
  const keys = new Set(
    requests
      .flatMap(({ path }) => /^\/backups\/([^?]+-parts)\?/.exec(path)?.[1] ?? [])
      .map(decodeURIComponent),
  );
  const open: string[] = [];
  for (const key of keys) {
    const page = await s3.client().send(new ListMultipartUploadsCommand({ Bucket: BUCKET, Prefix: key }));
    open.push(...(page.Uploads ?? []).map(({ UploadId }) => UploadId ?? ''));
  }
  return open;
}
