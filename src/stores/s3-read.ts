import type { S3Client } from '@aws-sdk/client-s3';
import type { S3CallOptions, S3Connection } from './s3-client.ts';
import { isBadRequest } from './s3-failure.ts';
import { type CustomerKey, customerKeyOf } from './s3-object-parameters.ts';

/** Asks about an object, which may be older than the setting of a key of one's own: then without that key. */
export async function readCall<T>(
  s3: S3Connection,
  operation: string,
  doing: string,
  signal: AbortSignal,
  make: (client: S3Client, options: S3CallOptions, key: CustomerKey) => Promise<T>,
): Promise<T> {
  const key = customerKeyOf(s3.settings);
  try {
    return await s3.call(operation, doing, signal, (client, options) => make(client, options, key));
  } catch (error) {
    if (s3.settings.encryption.kind !== 'sse-c' || !isBadRequest(error)) throw error;
    return s3.call(operation, doing, signal, (client, options) => make(client, options, {}));
  }
}
