import { HeadObjectCommand, ListPartsCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { S3Settings } from '../../src/config/types.ts';
import { connectS3 } from '../../src/stores/s3-client.ts';
import { beginUpload } from '../../src/stores/s3-multipart.ts';
import { refusesDamage } from '../../src/stores/s3-payload-check.ts';
import { createS3Store } from '../../src/stores/s3-store.ts';
import { startFlippingFront } from '../support/flipping-front.ts';
import { GrowingBytes, MIB, sha256, someBytes } from '../support/growing-bytes.ts';
import { openUploadsOf } from '../support/s3-looks.ts';
import { type S3Server, s3Kinds, startS3 } from '../support/s3-server.ts';
import { collect, uploadOf } from '../support/store-contract.ts';

const BUCKET = 'snapshots';
const NAME = 'on-demand-node-1-1730308816';
const never = new AbortController().signal;
const options = { program: 'k3s', nodeName: 'node-1', partSize: 5 * MIB, firstRetryMs: 1 } as const;
const sizes = [
  { what: 'in one request', size: 51_232 },
  { what: 'in parts', size: 11 * MIB },
];

describe.each(s3Kinds)('bytes that a TLS gateway damages on their way to %s', (kind) => {
  let s3: S3Server;
  beforeAll(async () => {
    s3 = await startS3({ kind });
    await s3.createBucket(BUCKET);
  });
  afterAll(() => s3[Symbol.asyncDispose]());

  const behind = (front: { endpoint: string; caFile: string }, folder: string): S3Settings => ({
    ...s3.settings(BUCKET, folder),
    endpoint: front.endpoint,
    endpointCA: front.caFile,
    insecure: false,
  });

  it.each(sizes)('once: they are sent again ($what)', async ({ size }) => {
    await using front = await startFlippingFront(s3.url, 1);
    const bytes = GrowingBytes.whole(someBytes(size));
    await createS3Store(behind(front, `once-${size}`), options).put(uploadOf(NAME, bytes), never);
    expect(front.flips).toBe(1);
    const store = createS3Store(s3.settings(BUCKET, `once-${size}`), options);
    expect(sha256(await collect(await store.open(NAME, never)))).toBe(sha256(bytes.content));
  });

  it.each(sizes)('always: nothing is reported as stored, and nothing stays ($what)', async ({ size }) => {
    await using front = await startFlippingFront(s3.url, Number.POSITIVE_INFINITY);
    const store = createS3Store(behind(front, `always-${size}`), options);
    const done = store.put(uploadOf(NAME, GrowingBytes.whole(someBytes(size))), never);
    await expect(done).rejects.toMatchObject({
      code: 'corrupt',
      why: expect.stringContaining('other bytes than were sent'),
    });
    expect(front.flips).toBeGreaterThan(1);
    expect(await createS3Store(s3.settings(BUCKET, `always-${size}`), options).list(never)).toEqual([]);
    expect(await openUploadsOf(s3, BUCKET, `always-${size}/${NAME}`)).toEqual([]);
  });
});

it.each(s3Kinds.flatMap((kind) => [false, true].map((tls) => ({ kind, tls }))))(
  'a part that is not what its signature says is refused by $kind (TLS: $tls), and not kept',
  async ({ kind, tls }) => {
    await using s3 = await startS3({ kind, tls });
    await s3.createBucket(BUCKET);
    const connection = connectS3(s3.settings(BUCKET), { now: () => new Date() }, {});
    const plan = { key: NAME, doing: 'Cannot upload it', contentType: 'application/zip', metadata: {} };
    const uploadId = await beginUpload(connection, plan, () => {}, never);
    expect(await refusesDamage(connection, { ...plan, uploadId }, never)).toBe(true);
    const target = { Bucket: BUCKET, Key: NAME, UploadId: uploadId };
    expect((await s3.client().send(new ListPartsCommand(target))).Parts ?? []).toEqual([]);
    connection.close();
  },
);

describe('a server that encrypts, whose ETags are no sums of what was sent', () => {
  it.each(sizes)('is content with what arrived ($what)', async ({ size }) => {
    await using s3 = await startS3({ kind: 'minio', encrypts: true });
    await s3.createBucket(BUCKET);
    const store = createS3Store(s3.settings(BUCKET), options);
    const bytes = GrowingBytes.whole(someBytes(size));
    const { warnings } = await store.put(uploadOf(NAME, bytes), never);
    expect(warnings).toEqual([]);
    const head = await s3.client().send(new HeadObjectCommand({ Bucket: BUCKET, Key: NAME }));
    expect(head.ServerSideEncryption).toBeDefined();
    expect(sha256(await collect(await store.open(NAME, never)))).toBe(sha256(bytes.content));
  });
});
