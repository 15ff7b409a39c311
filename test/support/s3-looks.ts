import { ListMultipartUploadsCommand } from '@aws-sdk/client-s3';
import { sleep } from './processes.ts';
import type { S3Server } from './s3-server.ts';

/** Ids of the uploads in progress of one key: a whole key is what every server lists. */
export async function openUploadsOf(s3: S3Server, bucket: string, key: string): Promise<string[]> {
  const page = await s3.client().send(new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: key }));
  return (page.Uploads ?? []).flatMap((upload) => (upload.Key === key ? [upload.UploadId ?? ''] : []));
}

/** Waits until something is so; the runner's own timeout ends it when it never is. */
export async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await sleep(10);
}
