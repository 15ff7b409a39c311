import { ListMultipartUploadsCommand } from '@aws-sdk/client-s3';
import { UPLOAD_MARK } from '../../src/stores/s3-ownership.ts';
import type { SeenRequest } from './fault-front.ts';
import { sleep } from './processes.ts';
import type { S3Server } from './s3-server.ts';

/** Ids of the uploads in progress of one key: a whole key is what every server lists. */
export async function openUploadsOf(s3: S3Server, bucket: string, key: string): Promise<string[]> {
  const page = await s3.client().send(new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: key }));
  return (page.Uploads ?? []).flatMap((upload) => (upload.Key === key ? [upload.UploadId ?? ''] : []));
}

/** The header by which an upload knows its object again, as its requests have shown it. */
export function markOf(requests: readonly SeenRequest[]): Record<string, string> {
  const name = `x-amz-meta-${UPLOAD_MARK}`;
  const mark = requests.map(({ headers }) => headers[name]).findLast((value) => typeof value === 'string');
  return { [name]: String(mark) };
}

/** Waits until something is so; the runner's own timeout ends it when it never is. */
export async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await sleep(10);
}
