import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import pMap from 'p-map';
import type { S3Server } from './s3-server.ts';

const BLOCK = 512;
const WRITES_AT_ONCE = 64;

/** Objects of one byte under these keys, at once: thousands of requests would take longer than what is to be tested. */
export async function manyObjects(s3: S3Server, bucket: string, keys: readonly string[]): Promise<void> {
  if (s3.kind === 'versitygw') {
    const path = (key: string) => join(s3.dataDir, bucket, key);
    for (const folder of new Set(keys.map((key) => dirname(path(key)))))
      await mkdir(folder, { recursive: true });
    await pMap(keys, (key) => writeFile(path(key), 'x'), { concurrency: WRITES_AT_ONCE });
    return;
  }
  // MinIO unpacks a tar file, when told so.
  const command = new PutObjectCommand({ Bucket: bucket, Key: 'many.tar', Body: tar(keys) });
  command.middlewareStack.add(
    (next) => (args) => {
      const { request } = args;
      if (typeof request === 'object' && request !== null && 'headers' in request) {
        Object.assign(request.headers ?? {}, { 'x-amz-meta-snowball-auto-extract': 'true' });
      }
      return next(args);
    },
    { step: 'build', name: 'unpack' },
  );
  await s3.client().send(command);
}

/** Files of one byte, as POSIX has it. */
function tar(names: readonly string[]): Buffer {
  const file = (name: string) => {
    const entry = Buffer.alloc(2 * BLOCK);
    entry.write(name, 0);
    entry.write('0000644\x000000000\x000000000\x0000000000001\x0000000000000\0', 100);
    entry.write('        0', 148);
    entry.write('ustar\x0000', 257);
    const sum = entry.subarray(0, BLOCK).reduce((total, byte) => total + byte, 0);
    entry.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    entry.write('x', BLOCK);
    return entry;
  };
  return Buffer.concat([...names.map(file), Buffer.alloc(2 * BLOCK)]);
}
