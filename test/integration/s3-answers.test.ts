import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SnapshotStore } from '../../src/snapshot/ports.ts';
import { createS3Store } from '../../src/stores/s3-store.ts';
import { type Fault, type FaultFront, type SeenRequest, startFaultFront } from '../support/fault-front.ts';
import { GrowingBytes, MIB, someBytes } from '../support/growing-bytes.ts';
import { openUploadsOf } from '../support/s3-looks.ts';
import { type S3Server, s3Kinds, startS3 } from '../support/s3-server.ts';
import { collect, uploadOf } from '../support/store-contract.ts';

const BUCKET = 'snapshots';
const NAME = 'on-demand-node-1-1730308816';
const never = new AbortController().signal;
const quick = {
  program: 'k3s',
  nodeName: 'node-1',
  partSize: 5 * MIB,
  firstRetryMs: 1,
  maxAttempts: 2,
} as const;
const denied = { status: 403, body: '<Error><Code>AccessDenied</Code><Message>no</Message></Error>' };

const small = (store: SnapshotStore) => store.put(uploadOf(NAME, GrowingBytes.whole(someBytes(544))), never);
const large = (store: SnapshotStore) =>
  store.put(uploadOf(NAME, GrowingBytes.whole(someBytes(11 * MIB))), never);
const read = async (store: SnapshotStore) => collect(await store.open(NAME, never));

describe.each(s3Kinds)('answers of %s', (kind) => {
  let s3: S3Server;
  beforeAll(async () => {
    s3 = await startS3({ kind });
    await s3.createBucket(BUCKET);
  });
  afterAll(() => s3?.[Symbol.asyncDispose]());

  const through = (front: FaultFront, folder: string) =>
    createS3Store({ ...s3.settings(BUCKET, folder), endpoint: front.endpoint }, quick);

  it.each([
    ['PutObject', ({ method, path }: SeenRequest) => method === 'PUT' && !path.includes('uploadId'), small],
    [
      'CreateMultipartUpload',
      ({ method, path }: SeenRequest) => method === 'POST' && /[?&]uploads\b/.test(path),
      large,
    ],
    ['UploadPart', ({ path }: SeenRequest) => path.includes('partNumber='), large],
    [
      'ListObjectsV2',
      ({ path }: SeenRequest) => path.includes('list-type'),
      (store: SnapshotStore) => store.list(never),
    ],
    [
      'HeadObject',
      ({ method }: SeenRequest) => method === 'HEAD',
      (store: SnapshotStore) => store.stat(NAME, never),
    ],
    ['GetObject', ({ method, path }: SeenRequest) => method === 'GET' && path.includes(NAME), read],
    [
      'DeleteObject',
      ({ method }: SeenRequest) => method === 'DELETE',
      (store: SnapshotStore) => store.remove(NAME, never),
    ],
  ] as const)('that deny %s alone name it', async (operation, matches, work) => {
    const folder = operation.toLowerCase();
    await small(createS3Store(s3.settings(BUCKET, folder), quick));
    await using front = await startFaultFront(s3.url);
    front.setRule((request) => (matches(request) ? denied : undefined));
    await expect(work(through(front, folder))).rejects.toMatchObject({
      code: 'forbidden',
      why: expect.stringContaining(operation),
      hint: expect.stringContaining(`Allow ${operation} in bucket ${BUCKET}`),
    });
    front.setRule(() => undefined);
    expect(await openUploadsOf(s3, BUCKET, `${folder}/${NAME}`)).toEqual([]);
  });

  const odd: readonly (readonly [string, Fault])[] = [
    ['HTML', { status: 200, body: '<html><body>Please log in</body></html>' }],
    ['HTML with a status', { status: 404, body: '<html><body>Not here</body></html>' }],
    ['nothing', { status: 400 }],
    ['XML that breaks off', { status: 400, body: '<Error><Code>Invalid' }],
    ['XML of somebody else', { status: 400, body: '<Error><Code>SomethingNew</Code></Error>' }],
  ];
  it.each(odd)(
    'that are %s fail an upload and a list, and no snapshot passes for saved',
    async (_what, fault) => {
      await using front = await startFaultFront(s3.url);
      front.setRule(() => fault);
      const store = through(front, 'odd');
      for (const work of [small, large, (one: SnapshotStore) => one.list(never)]) {
        await expect(work(store)).rejects.toMatchObject({
          name: 'SnapshotError',
          hint: expect.stringMatching(/\S/),
        });
      }
      front.setRule(() => undefined);
      expect(await store.list(never)).toEqual([]);
    },
  );

  it('that list the same page for ever end as an error', async () => {
    await using front = await startFaultFront(s3.url);
    const page = `<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>again</NextContinuationToken>
<Contents><Key>circle/${NAME}</Key><Size>1</Size></Contents></ListBucketResult>`;
    front.setRule(() => ({ status: 200, body: page, headers: { 'content-type': 'application/xml' } }));
    await expect(through(front, 'circle').list(never)).rejects.toMatchObject({ code: 'protocol' });
    const uploads = `<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>again</NextKeyMarker>
<NextUploadIdMarker>again</NextUploadIdMarker></ListMultipartUploadsResult>`;
    front.setRule(() => ({ status: 200, body: uploads, headers: { 'content-type': 'application/xml' } }));
    await expect(through(front, 'circle').sweep(never)).rejects.toMatchObject({ code: 'protocol' });
    expect(front.requests.length).toBeLessThan(10);
  });

  it('take names with odd letters as they are', async () => {
    const name = 'a b+c%20&d=e#é-node-1-1730308816';
    const store = createS3Store(s3.settings(BUCKET, 'odd letters & more'), quick);
    const content = someBytes(544);
    await store.put(uploadOf(name, GrowingBytes.whole(content)), never);
    expect(await store.list(never)).toMatchObject([
      { name, location: { key: `odd letters & more/${name}` } },
    ]);
    expect((await collect(await store.open(name, never))).equals(content)).toBe(true);
    expect(await store.remove(name, never)).toBe(true);
    expect(await store.list(never)).toEqual([]);
  });
});
