import { randomBytes } from 'node:crypto';
import { GetObjectTaggingCommand, HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  Redacted,
  type S3Encryption,
  type S3ObjectSettings,
  type S3Settings,
} from '../../src/config/types.ts';
import { createS3Store } from '../../src/stores/s3-store.ts';
import { startFaultFront } from '../support/fault-front.ts';
import { GrowingBytes, MIB, sha256, someBytes } from '../support/growing-bytes.ts';
import { type S3Server, s3Kinds, startS3 } from '../support/s3-server.ts';
import { collect, uploadOf } from '../support/store-contract.ts';

const BUCKET = 'snapshots';
const SMALL = 'on-demand-node-1-1730308816';
const LARGE = 'on-demand-node-1-1730308817';
const never = new AbortController().signal;
const quick = { program: 'k3s', nodeName: 'node-1', partSize: 5 * MIB, firstRetryMs: 1 } as const;
const metadata = { purpose: 'test' };
const nothing: S3ObjectSettings = { storageClass: undefined, acl: undefined, tags: new Map() };

async function roundTrip(settings: S3Settings): Promise<void> {
  const store = createS3Store(settings, quick);
  for (const [name, size] of [
    [SMALL, 544],
    [LARGE, 11 * MIB],
  ] as const) {
    const content = someBytes(size);
    const upload = uploadOf(name, GrowingBytes.whole(content), {
      createdAt: new Date(Number(name.slice(-10)) * 1000),
      facts: Promise.resolve({ metadata }),
    });
    const { snapshot, warnings } = await store.put(upload, never);
    expect(warnings).toEqual([]);
    expect(await store.stat(name, never)).toEqual(snapshot);
    expect(sha256(await collect(await store.open(name, never)))).toBe(sha256(content));
  }
  expect(await store.list(never)).toMatchObject([{ metadata }, { metadata }]);
}

describe('encryption by MinIO', () => {
  let s3: S3Server;
  beforeAll(async () => {
    const key = randomBytes(32).toString('base64');
    s3 = await startS3({ kind: 'minio', tls: true, env: { MINIO_KMS_SECRET_KEY: `snapshot-key:${key}` } });
    await s3.createBucket(BUCKET);
  });
  afterAll(() => s3?.[Symbol.asyncDispose]());

  const customerKey = randomBytes(32).toString('base64');
  const encryptions: readonly (readonly [S3Encryption, object])[] = [
    [{ kind: 'sse-s3' }, { ServerSideEncryption: 'AES256' }],
    [
      { kind: 'sse-kms', keyId: 'snapshot-key' },
      { ServerSideEncryption: 'aws:kms', SSEKMSKeyId: 'arn:aws:kms:snapshot-key' },
    ],
    [{ kind: 'sse-kms', keyId: undefined }, { ServerSideEncryption: 'aws:kms' }],
    [{ kind: 'sse-c', key: new Redacted(customerKey) }, { SSECustomerAlgorithm: 'AES256' }],
  ];
  it.each(encryptions)('%j: stored, listed, read and continued, sidecars too', async (encryption, head) => {
    const settings = { ...s3.settings(BUCKET, `${encryption.kind}-${Object.keys(head).length}`), encryption };
    await roundTrip(settings);
    const customer =
      encryption.kind === 'sse-c' ? { SSECustomerAlgorithm: 'AES256', SSECustomerKey: customerKey } : {};
    for (const Key of [SMALL, LARGE, `.metadata/${SMALL}`].map((name) => `${settings.folder}/${name}`)) {
      expect(
        await s3.client().send(new HeadObjectCommand({ Bucket: BUCKET, Key, ...customer })),
      ).toMatchObject(head);
    }
  });

  it('reads what was stored before sse-c was set', async () => {
    const plain = s3.settings(BUCKET, 'before');
    const content = someBytes(544);
    const upload = uploadOf(SMALL, GrowingBytes.whole(content), { facts: Promise.resolve({ metadata }) });
    const { snapshot } = await createS3Store(plain, quick).put(upload, never);
    const encryption = { kind: 'sse-c', key: new Redacted(customerKey) } as const;
    const store = createS3Store({ ...plain, encryption }, quick);
    expect(await store.list(never)).toEqual([snapshot]);
    expect(sha256(await collect(await store.open(SMALL, never)))).toBe(sha256(content));
  });

  it('names the setting when an object needs a key that is not given', async () => {
    const settings = s3.settings(BUCKET, 'locked');
    const encryption = { kind: 'sse-c', key: new Redacted(customerKey) } as const;
    await createS3Store({ ...settings, encryption }, quick).put(
      uploadOf(SMALL, GrowingBytes.whole(someBytes(544))),
      never,
    );
    await expect(createS3Store(settings, quick).stat(SMALL, never)).rejects.toMatchObject({
      hint: expect.stringContaining('--s3-sse-c-key'),
    });
  });
});

describe.each(s3Kinds)('what objects get on %s', (kind) => {
  let s3: S3Server;
  beforeAll(async () => {
    s3 = await startS3({ kind });
    await s3.createBucket(BUCKET);
  });
  afterAll(() => s3?.[Symbol.asyncDispose]());

  it('are tags, in the letters that were given', async () => {
    const tags = new Map([
      ['team', 'ops + co'],
      ['cost:center', 'a=b'],
      ['empty', ''],
    ]);
    const settings = { ...s3.settings(BUCKET, 'tags'), objects: { ...nothing, tags } };
    await roundTrip(settings);
    for (const Key of [`tags/${SMALL}`, `tags/${LARGE}`]) {
      const { TagSet = [] } = await s3.client().send(new GetObjectTaggingCommand({ Bucket: BUCKET, Key }));
      expect(new Map(TagSet.map((tag) => [tag.Key, tag.Value]))).toEqual(tags);
    }
  });

  it.each([
    [
      'storage class, ACL and encryption',
      { storageClass: 'STANDARD_IA', acl: 'bucket-owner-full-control', tags: new Map() },
      { kind: 'sse-kms', keyId: 'alias/k' },
      {
        'x-amz-storage-class': 'STANDARD_IA',
        'x-amz-acl': 'bucket-owner-full-control',
        'x-amz-server-side-encryption': 'aws:kms',
        'x-amz-server-side-encryption-aws-kms-key-id': 'alias/k',
      },
    ],
    ['nothing that was not asked for', nothing, { kind: 'none' }, {}],
  ] as const)(
    'is %s: with every request that makes an object',
    async (_what, objects, encryption, headers) => {
      await using front = await startFaultFront(s3.url);
      front.setRule(({ method, path }) =>
        method === 'PUT' || (method === 'POST' && path.includes('uploads')) ? { status: 501 } : undefined,
      );
      const settings = { ...s3.settings(BUCKET), endpoint: front.endpoint, objects, encryption };
      const store = createS3Store(settings, { ...quick, maxAttempts: 1 });
      for (const size of [544, 11 * MIB]) {
        await expect(
          store.put(uploadOf(SMALL, GrowingBytes.whole(someBytes(size))), never),
        ).rejects.toThrow();
      }
      const making = front.requests.filter(({ method }) => method === 'PUT' || method === 'POST');
      // The small one goes twice: the second time without `If-None-Match`, which a server may not know.
      expect(making.length).toBe(3);
      const special = /^x-amz-(?:storage|acl|server-side|tagging|grant)/;
      for (const request of making) {
        const sent = Object.entries(request.headers).filter(([name]) => special.test(name));
        expect(Object.fromEntries(sent)).toEqual(headers);
      }
    },
  );

  it('may differ from what is there: objects without tags or class are listed all the same', async () => {
    await s3.client().send(new PutObjectCommand({ Bucket: BUCKET, Key: `plain/${SMALL}`, Body: 'x' }));
    const objects = { ...nothing, tags: new Map([['a', 'b']]) };
    expect(await createS3Store({ ...s3.settings(BUCKET, 'plain'), objects }, quick).list(never)).toHaveLength(
      1,
    );
  });
});
