import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SnapshotStore } from '../../src/snapshot/ports.ts';
import { createS3Store } from '../../src/stores/s3-store.ts';
import type { Fault, SeenRequest } from '../support/fault-front.ts';
import { GrowingBytes, MIB, someBytes } from '../support/growing-bytes.ts';
import { type S3Front, startS3Front } from '../support/s3-front.ts';
import { openUploadsOf } from '../support/s3-looks.ts';
import { type S3Server, s3Servers, startS3 } from '../support/s3-server.ts';
import { scratchDir } from '../support/scratch.ts';
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
const xml = { 'content-type': 'application/xml' };
const denied = { status: 403, body: '<Error><Code>AccessDenied</Code><Message>no</Message></Error>' };
const LARGE = someBytes(6 * MIB);

const put = (content: Buffer) => (store: SnapshotStore) =>
  store.put(uploadOf(NAME, GrowingBytes.whole(content)), never);
const small = put(someBytes(544));
const large = put(LARGE);
const read = async (store: SnapshotStore) => collect(await store.open(NAME, never));

interface Operation {
  readonly operation: string;
  readonly isIt: (request: SeenRequest) => boolean;
  /** What needs it. */
  readonly work: (store: SnapshotStore) => Promise<unknown>;
}

const operations: readonly Operation[] = [
  {
    operation: 'PutObject',
    isIt: ({ method, path }) => method === 'PUT' && !path.includes('uploadId'),
    work: small,
  },
  {
    operation: 'CreateMultipartUpload',
    isIt: ({ method, path }) => method === 'POST' && /[?&]uploads\b/.test(path),
    work: large,
  },
  { operation: 'UploadPart', isIt: ({ path }) => path.includes('partNumber='), work: large },
  {
    operation: 'CompleteMultipartUpload',
    isIt: ({ method, path }) => method === 'POST' && path.includes('uploadId='),
    work: large,
  },
  {
    operation: 'ListObjectsV2',
    isIt: ({ path }) => path.includes('list-type'),
    work: (store) => store.list(never),
  },
  {
    operation: 'HeadObject',
    isIt: ({ method }) => method === 'HEAD',
    work: (store) => store.stat(NAME, never),
  },
  {
    operation: 'GetObject',
    isIt: ({ method, path }) => method === 'GET' && path.includes(NAME),
    work: read,
  },
  {
    operation: 'DeleteObject',
    isIt: ({ method, path }) => method === 'DELETE' && !path.includes('uploadId'),
    work: (store) => store.remove(NAME, never),
  },
];

/** What stands between and has its own ideas: login pages, load balancers, servers that know no S3. */
const oddAnswers: readonly (readonly [string, Extract<Fault, { status: number }>])[] = [
  ['HTML', { status: 200, body: '<html><body><p>Please log in</p></body></html>' }],
  ['HTML that is no XML', { status: 200, body: '<html><br><p>Please log in</html>' }],
  ['HTML with a status', { status: 400, body: '<html><body>Bad request</body></html>' }],
  ['nothing', { status: 400 }],
  ['XML that breaks off', { status: 400, body: '<Error><Code>Invalid', headers: xml }],
  ['XML of somebody else', { status: 400, body: '<Error><Code>SomethingNew</Code></Error>', headers: xml }],
];
/** To this one a page of good status tells no less than the server itself would. */
const SAYS_LITTLE = 'DeleteObject';

describe.each(s3Servers)('answers of $kind, tls $tls,', ({ kind, tls }) => {
  let s3: S3Server;
  beforeAll(async () => {
    s3 = await startS3({ kind, tls });
    await s3.createBucket(BUCKET);
  });
  afterAll(() => s3?.[Symbol.asyncDispose]());

  const through = (front: S3Front, folder: string, journalDir?: string) =>
    createS3Store(front.settings(BUCKET, folder), {
      ...quick,
      ...(journalDir === undefined ? {} : { journalDir }),
    });
  const direct = (folder: string) => createS3Store(s3.settings(BUCKET, folder), quick);

  it.each(operations)('that deny $operation alone name it', async ({ operation, isIt, work }) => {
    const folder = `denied-${operation}`;
    await small(direct(folder));
    await using front = await startS3Front(s3);
    front.setRule((request) => (isIt(request) ? denied : undefined));
    await expect(work(through(front, folder))).rejects.toMatchObject({
      code: 'forbidden',
      why: expect.stringContaining(operation),
      hint: expect.stringContaining(`Allow ${operation} in bucket ${BUCKET}`),
    });
    expect(await openUploadsOf(s3, BUCKET, `${folder}/${NAME}`)).toEqual([]);
    expect(await direct(folder).list(never)).toHaveLength(1);
  });

  it('that deny the clean-up alone leave a note, and the next run needs it', async () => {
    await using dir = await scratchDir();
    await using front = await startS3Front(s3);
    const isAbort = ({ method, path }: SeenRequest) => method === 'DELETE' && path.includes('uploadId');
    front.setRule((request) =>
      isAbort(request) || request.path.includes('partNumber=') ? denied : undefined,
    );
    const store = through(front, 'cleanup', dir.path);
    await expect(large(store)).rejects.toMatchObject({
      code: 'forbidden',
      why: expect.stringContaining('UploadPart'),
    });
    await expect(store.sweep(never)).rejects.toMatchObject({
      code: 'forbidden',
      hint: expect.stringContaining('Allow AbortMultipartUpload'),
    });
    front.setRule(() => undefined);
    expect(await store.sweep(never)).toHaveLength(1);
    expect(await openUploadsOf(s3, BUCKET, `cleanup/${NAME}`)).toEqual([]);
  });

  it.each(operations)(
    'that are no answers to $operation end in an error, and nothing is half-made',
    async ({ operation, isIt, work }) => {
      const folder = `odd-${operation}`;
      const writes = work === small || work === large;
      if (!writes) await small(direct(folder));
      await using dir = await scratchDir();
      await using front = await startS3Front(s3);
      const store = through(front, folder, dir.path);
      for (const [what, fault] of oddAnswers) {
        if (operation === SAYS_LITTLE && fault.status === 200) continue;
        front.setRule((request) => (isIt(request) ? fault : undefined));
        await expect(work(store), what).rejects.toMatchObject({
          name: 'SnapshotError',
          why: expect.stringMatching(/\S/),
          hint: expect.stringMatching(/\S/),
        });
        front.setRule(() => undefined);
        await store.sweep(never);
        expect(await openUploadsOf(s3, BUCKET, `${folder}/${NAME}`), what).toEqual([]);
        expect(await direct(folder).list(never), what).toHaveLength(writes ? 0 : 1);
      }
    },
  );

  it('that are HTML to a list of unfinished uploads do not pass for an empty one', async () => {
    await using front = await startS3Front(s3);
    front.setRule(() => ({ status: 200, body: '<html><body>Hello</body></html>' }));
    await expect(through(front, 'uploads').sweep(never)).rejects.toMatchObject({ code: 'protocol' });
  });

  it('that are odd for all operations at once: no snapshot passes for saved', async () => {
    await using front = await startS3Front(s3);
    const store = through(front, 'all');
    for (const [what, fault] of oddAnswers) {
      front.setRule(() => fault);
      for (const work of [small, large, read, (one: SnapshotStore) => one.list(never)]) {
        await expect(work(store), what).rejects.toMatchObject({ hint: expect.stringMatching(/\S/) });
      }
    }
    expect(await direct('all').list(never)).toEqual([]);
  });

  it('that send on in circles are not followed for ever', async () => {
    await using front = await startS3Front(s3);
    const store = through(front, 'redirect');
    for (const status of [301, 302, 307, 308]) {
      front.setRule(({ path }) => ({ status, headers: { location: `${front.url}${path}` } }));
      for (const work of [small, large, read, (one: SnapshotStore) => one.list(never)]) {
        await expect(work(store), String(status)).rejects.toMatchObject({
          hint: expect.stringMatching(/--s3-(?:region|endpoint)/),
        });
      }
    }
    expect(front.requests.length).toBeLessThan(60);
    expect(await direct('redirect').list(never)).toEqual([]);
  });

  it('that list the same page for ever end as an error', async () => {
    await using front = await startS3Front(s3);
    const page = `<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>again</NextContinuationToken>
<Contents><Key>circle/${NAME}</Key><Size>1</Size></Contents></ListBucketResult>`;
    front.setRule(() => ({ status: 200, body: page, headers: xml }));
    await expect(through(front, 'circle').list(never)).rejects.toMatchObject({ code: 'protocol' });
    const uploads = `<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>again</NextKeyMarker>
<NextUploadIdMarker>again</NextUploadIdMarker></ListMultipartUploadsResult>`;
    front.setRule(() => ({ status: 200, body: uploads, headers: xml }));
    await expect(through(front, 'circle').sweep(never)).rejects.toMatchObject({ code: 'protocol' });
    expect(front.requests.length).toBeLessThan(10);
  });

  it('take keys with odd letters as they are, in one request and in parts', async () => {
    const name = 'a b+c%20&d=e#é😀?;:@$,-node-1-1730308816';
    const folder = 'odd letters & more/+%2F/ü';
    const store = direct(folder);
    for (const content of [LARGE.subarray(0, 544), LARGE]) {
      await store.put(uploadOf(name, GrowingBytes.whole(content)), never);
      expect(await store.list(never)).toMatchObject([{ name, location: { key: `${folder}/${name}` } }]);
      expect((await collect(await store.open(name, never))).equals(content)).toBe(true);
      expect(await openUploadsOf(s3, BUCKET, `${folder}/${name}`)).toEqual([]);
      expect(await store.remove(name, never)).toBe(true);
      expect(await store.list(never)).toEqual([]);
    }
  });
});
