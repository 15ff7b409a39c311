import type { S3Settings } from '../../src/config/types.ts';
import { type FaultFront, startFaultFront } from './fault-front.ts';
import type { S3Server } from './s3-server.ts';

export interface S3Front extends FaultFront {
  /** Settings that lead through the front, over TLS where the server speaks it. */
  settings(bucket: string, folder?: string): S3Settings;
}

/** A front before an S3 server that looks like the server itself, TLS and CA included. */
export async function startS3Front(s3: S3Server): Promise<S3Front> {
  const tls = s3.ca === undefined ? undefined : { ca: s3.ca.pem, pair: await s3.ca.issue('front') };
  const front = await startFaultFront(s3.url, tls);
  return Object.assign(front, {
    settings: (bucket: string, folder?: string) => ({
      ...s3.settings(bucket, folder),
      endpoint: front.endpoint,
    }),
  });
}
