import { createReadStream } from 'node:fs';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { Agent } from 'node:https';
import { S3Client } from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { Redacted } from '../src/config/types.ts';
import type { SnapshotBytes } from '../src/snapshot/ports.ts';
import { createS3Store } from '../src/stores/s3-store.ts';

/** `upload.js ours|sdk HOST:PORT CA-FILE BUCKET FILE`: uploads a file and ends. Keys come from the environment. */
const [who, endpoint = '', caFile = '', bucket = '', path = ''] = process.argv.slice(2);
const { AWS_ACCESS_KEY_ID = '', AWS_SECRET_ACCESS_KEY = '' } = process.env;
const PART = 8 * 1024 * 1024;
const CONCURRENCY = 2;
const never = new AbortController().signal;

function bytesOf(file: FileHandle, size: number): SnapshotBytes {
  return {
    expectedSize: size,
    proven: Promise.resolve(size),
    async read(into, position) {
      let filled = 0;
      for (;;) {
        const { bytesRead } = await file.read(into, filled, into.length - filled, position + filled);
        filled += bytesRead;
        if (bytesRead === 0 || filled === into.length) return filled;
      }
    },
  };
}

async function ours(): Promise<void> {
  const keys = {
    accessKey: new Redacted(AWS_ACCESS_KEY_ID),
    secretKey: new Redacted(AWS_SECRET_ACCESS_KEY),
    sessionToken: undefined,
  };
  using store = createS3Store(
    {
      endpoint,
      endpointCA: caFile,
      skipSSLVerify: false,
      insecure: false,
      keys,
      bucket,
      region: 'us-east-1',
      folder: 'ours',
      timeoutMs: 300_000,
      stallMs: 30_000,
      proxy: 'none',
      lookup: 'path',
      checksums: 'when-required',
      encryption: { kind: 'none' },
      objects: { storageClass: undefined, acl: undefined, tags: new Map() },
    },
    { program: 'k3s', nodeName: 'bench', partSize: PART, concurrency: CONCURRENCY },
  );
  await using file = await open(path);
  const { size } = await file.stat();
  const createdAt = new Date();
  const upload = { name: 'bench-bench-1', nodeName: 'bench', createdAt, compressed: false };
  await store.put({ ...upload, bytes: bytesOf(file, size), facts: Promise.resolve({}) }, never);
}

/** As it comes, but for what both must have alike. */
async function sdk(): Promise<void> {
  const client = new S3Client({
    endpoint: `https://${endpoint}`,
    region: 'us-east-1',
    forcePathStyle: true,
    requestHandler: new NodeHttpHandler({
      httpsAgent: new Agent({ ca: await readFile(caFile), keepAlive: true }),
    }),
  });
  const params = { Bucket: bucket, Key: 'sdk/bench-bench-1', Body: createReadStream(path) };
  await new Upload({ client, params, partSize: PART, queueSize: CONCURRENCY }).done();
  client.destroy();
}

await (who === 'ours' ? ours() : sdk());
