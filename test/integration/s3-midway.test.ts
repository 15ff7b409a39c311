import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DeleteBucketCommand, ListPartsCommand } from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { SnapshotStore } from '../../src/snapshot/ports.ts';
import { createS3Store } from '../../src/stores/s3-store.ts';
import type { Fault, SeenRequest } from '../support/fault-front.ts';
import { GrowingBytes, MIB, someBytes } from '../support/growing-bytes.ts';
import { type S3Front, startS3Front } from '../support/s3-front.ts';
import { markOf, openUploadsOf, until } from '../support/s3-looks.ts';
import { type S3Server, s3Kinds, s3Servers, startS3 } from '../support/s3-server.ts';
import { scratchDir } from '../support/scratch.ts';
import { collect, uploadOf } from '../support/store-contract.ts';
import { startTcpFront } from '../support/tcp-front.ts';

const BUCKET = 'snapshots';
const NAME = 'on-demand-node-1-1730308816';
const PART = 5 * MIB;
const MINUTE = 60_000;
const never = new AbortController().signal;
const quick = { program: 'k3s', nodeName: 'node-1', partSize: PART, firstRetryMs: 1 } as const;
const hasty = { ...quick, maxAttempts: 2, stallMs: 600 };
const patient = { stallMs: 30_000 };
const SMALL = someBytes(544);
/** Two parts. */
const LARGE = someBytes(6 * MIB);

const isPut = ({ method, path }: SeenRequest) => method === 'PUT' && !path.includes('partNumber=');
const isPart = ({ path }: SeenRequest) => path.includes('partNumber=');
const isBegin = ({ method, path }: SeenRequest) => method === 'POST' && /[?&]uploads\b/.test(path);
const isComplete = ({ method, path }: SeenRequest) => method === 'POST' && path.includes('uploadId=');
const isAbort = ({ method, path }: SeenRequest) => method === 'DELETE' && path.includes('uploadId=');
const isHead = ({ method }: SeenRequest) => method === 'HEAD';
const isList = ({ path }: SeenRequest) => path.includes('list-type');
const isGet = ({ method, headers }: SeenRequest) => method === 'GET' && headers.range !== undefined;

const put = (content: Buffer) => (store: SnapshotStore) =>
  store.put(uploadOf(NAME, GrowingBytes.whole(content)), never);
const small = put(SMALL);
const large = put(LARGE);
const list = (store: SnapshotStore) => store.list(never);
const read = async (store: SnapshotStore) => collect(await store.open(NAME, never));

describe.each(s3Servers)('in the middle of the work with $kind, tls $tls,', ({ kind, tls }) => {
  let s3: S3Server;
  let folders = 0;
  beforeAll(async () => {
    s3 = await startS3({ kind, tls });
    await s3.createBucket(BUCKET);
  });
  afterAll(() => s3?.[Symbol.asyncDispose]());
  afterEach(() => {
    vi.useRealTimers();
  });

  async function scene(options: typeof quick & { maxAttempts?: number; stallMs?: number } = quick) {
    folders += 1;
    const folder = `folder-${folders}`;
    const dir = await scratchDir('notes-');
    const front: S3Front = await startS3Front(s3);
    const direct = createS3Store(s3.settings(BUCKET, folder), quick);
    const open = (more: object = {}) =>
      createS3Store(front.settings(BUCKET, folder), { ...options, ...more, journalDir: dir.path });
    return {
      folder,
      front,
      direct,
      open,
      store: open(),
      openUploads: () => openUploadsOf(s3, BUCKET, `${folder}/${NAME}`),
      /** What the next run does first: after it nothing is left, whatever has happened. */
      async nextRun() {
        front.setRule(() => undefined);
        await open(patient).sweep(never);
        // Nobody knows those that were begun without an answer; they have no parts, and go when they are a day old.
        for (const UploadId of await openUploadsOf(s3, BUCKET, `${folder}/${NAME}`)) {
          const target = { Bucket: BUCKET, Key: `${folder}/${NAME}`, UploadId };
          expect((await s3.client().send(new ListPartsCommand(target))).Parts ?? []).toEqual([]);
        }
        const clock = { now: () => new Date(Date.now() + 25 * 60 * MINUTE) };
        await open({ ...patient, clock }).sweep(never);
        expect(await openUploadsOf(s3, BUCKET, `${folder}/${NAME}`)).toEqual([]);
        expect(await readdir(dir.path)).toEqual([]);
      },
      async [Symbol.asyncDispose]() {
        await front[Symbol.asyncDispose]();
        await dir[Symbol.asyncDispose]();
      },
    };
  }

  const hangs: readonly (readonly [
    string,
    (request: SeenRequest) => boolean,
    Fault,
    (store: SnapshotStore) => Promise<unknown>,
  ])[] = [
    ['before it answers a put', isPut, 'hang', small],
    ['before it answers a begin', isBegin, 'hang', large],
    ['after a begin', isBegin, 'mute', large],
    ['before it answers a part', isPart, 'hang', large],
    ['after a part', isPart, 'mute', large],
    ['before it makes the object of the parts', isComplete, 'hang', large],
    ['before it compares', isHead, 'hang', large],
    ['before it answers a list', isList, 'hang', list],
    ['in the body of a list', isList, { hangAfterResponseBytes: 40 }, list],
    ['before it answers a read', isGet, 'hang', read],
    ['in the body of a read', isGet, { hangAfterResponseBytes: 0 }, read],
  ];
  it.concurrent.each(hangs)(
    'a server that hangs %s is a timeout, and nothing stays',
    async (_what, isIt, fault, work) => {
      await using it = await scene(hasty);
      const writes = work === small || work === large;
      if (!writes) await small(it.direct);
      it.front.setRule((request) => (isIt(request) ? fault : undefined));
      await expect(work(it.store)).rejects.toMatchObject({
        code: 'timeout',
        why: expect.stringContaining(it.front.endpoint),
        hint: expect.stringContaining('--s3-'),
      });
      // Where the server still answers, parts do not wait for the next run, as far as there is time for that.
      if (isIt === isPart) expect(it.front.requests.some(isAbort)).toBe(true);
      await it.nextRun();
      const left = await it.direct.list(never);
      // What was being compared is whole, and only nobody knows it yet.
      expect(left).toHaveLength(writes && isIt !== isHead ? 0 : 1);
    },
  );

  it('a server that never says that it has made the object has made a whole one', async () => {
    await using it = await scene({ ...hasty, maxAttempts: 1, stallMs: 1_000 });
    it.front.setRule((request) => (isComplete(request) ? 'mute' : undefined));
    await expect(large(it.store)).rejects.toMatchObject({ code: 'timeout' });
    await it.nextRun();
    expect((await read(it.direct)).equals(LARGE)).toBe(true);
  });

  it.each([
    ['500', { status: 500 }, /HTTP 500/],
    ['503', { status: 503, body: '<Error><Code>SlowDown</Code></Error>' }, /come back later/],
    ['resets', { cutAfterRequestBytes: MIB }, /broke the connection off/],
  ] as const)('a storm of %s that does not end ends as an error that says so', async (_what, fault, why) => {
    await using it = await scene({ ...quick, maxAttempts: 3 });
    it.front.setRule((request) => (isPart(request) || isPut(request) || isList(request) ? fault : undefined));
    for (const work of [large, list, ...('status' in fault ? [small] : [])]) {
      if (work === list && !('status' in fault)) continue;
      await expect(work(it.store)).rejects.toMatchObject({
        code: 'unavailable',
        why: expect.stringMatching(why),
        hint: expect.stringMatching(/^Try again/),
        retryable: true,
      });
    }
    await it.nextRun();
    expect(await it.direct.list(never)).toEqual([]);
  });

  it('a storm that ends is got over: every request fails twice, and nothing is read twice', async () => {
    await using it = await scene();
    const storm: readonly Fault[] = [{ status: 500 }, { cutAfterRequestBytes: 0 }];
    const tries = new Map<string, number>();
    it.front.setRule(({ method, path }) => {
      const request = `${method} ${path}`;
      const count = tries.get(request) ?? 0;
      tries.set(request, count + 1);
      return storm[count];
    });
    const bytes = GrowingBytes.whole(LARGE);
    const reads = vi.spyOn(bytes, 'read');
    await it.store.put(uploadOf(NAME, bytes), never);
    expect(reads.mock.calls.map(([, position]) => position)).toEqual([0, PART]);
    expect((await read(it.direct)).equals(LARGE)).toBe(true);
    await it.nextRun();
  });

  it('a connection that is lost at 99 % costs one part, and etcd is not read again', async () => {
    await using it = await scene();
    const content = someBytes(20 * MIB);
    let lost = 0;
    it.front.setRule((request) => {
      if (!request.path.includes('partNumber=4') || lost > 0) return undefined;
      lost += 1;
      return { cutAfterRequestBytes: Math.floor(0.96 * PART) };
    });
    const bytes = GrowingBytes.whole(content);
    const reads = vi.spyOn(bytes, 'read');
    await it.store.put(uploadOf(NAME, bytes), never);
    expect(lost).toBe(1);
    // The single byte with a wrong sum is the question whether the server checks sums.
    const parts = it.front.requests
      .filter((request) => isPart(request) && request.headers['content-length'] !== '1')
      .map(({ path }) => /partNumber=(\d)/.exec(path)?.[1]);
    expect(parts.toSorted((a = '', b = '') => a.localeCompare(b))).toEqual(['1', '2', '3', '4', '4']);
    expect(it.front.requests.filter(isBegin)).toHaveLength(1);
    expect(reads.mock.calls.map(([, at]) => at)).toEqual([0, PART, 2 * PART, 3 * PART, 4 * PART]);
    expect((await read(it.direct)).equals(content)).toBe(true);
    await it.nextRun();
  });

  it('an object whose ETag is another than was sent is removed, and not reported', async () => {
    await using it = await scene();
    const headers = { 'content-length': String(LARGE.length), etag: '"0"' };
    it.front.setRule((request) =>
      isHead(request) ? { status: 200, headers: { ...markOf(it.front.requests), ...headers } } : undefined,
    );
    await expect(large(it.store)).rejects.toMatchObject({
      code: 'corrupt',
      why: expect.stringContaining('another one (ETag 0 instead of'),
      hint: expect.any(String),
    });
    await it.nextRun();
    expect(await it.direct.list(never)).toEqual([]);
  });

  it('keys that are revoked fail the upload; with new ones the next run removes what it left', async () => {
    await using it = await scene();
    let revoked = false;
    it.front.setRule((request) => {
      revoked ||= request.path.includes('partNumber=2');
      return revoked ? { status: 403, body: '<Error><Code>InvalidAccessKeyId</Code></Error>' } : undefined;
    });
    await expect(large(it.store)).rejects.toMatchObject({
      code: 'unauthenticated',
      hint: expect.stringContaining('--s3-access-key'),
    });
    expect(await it.openUploads()).toHaveLength(1);
    await it.nextRun();
    expect(await it.direct.list(never)).toEqual([]);
  });

  it('a bucket that is deleted meanwhile is named', async () => {
    await using it = await scene();
    const deleted = Promise.withResolvers<void>();
    const bucket = `gone-${tls}`;
    await s3.createBucket(bucket);
    it.front.setRule((request) => (isComplete(request) ? { after: deleted.promise } : undefined));
    const store = createS3Store(it.front.settings(bucket), quick);
    const done = large(store);
    void Promise.allSettled([done]);
    await until(() => it.front.requests.some(isComplete));
    await s3.client().send(new DeleteBucketCommand({ Bucket: bucket }));
    deleted.resolve();
    const named = {
      code: 'not-found',
      why: expect.stringContaining(`no bucket ${bucket}`),
      hint: expect.stringContaining('--s3-bucket'),
    };
    await expect(done).rejects.toMatchObject(named);
    for (const work of [small, large, list, read]) await expect(work(store)).rejects.toMatchObject(named);
  });

  it.each([-20, 20])(
    'a clock that is %i minutes off is no hindrance: the server says what time it is',
    async (minutes) => {
      await using it = await scene();
      vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + minutes * MINUTE });
      const remove = (store: SnapshotStore) => store.remove(NAME, never);
      for (const work of [small, list, read, remove, large]) await work(it.open());
      await it.open().sweep(never);
      expect(it.front.requests.length).toBeGreaterThan(5);
      vi.useRealTimers();
      expect((await read(it.direct)).equals(LARGE)).toBe(true);
    },
  );
});

describe.each(s3Kinds)('bytes that are damaged below TLS, on the way to %s or back,', (kind) => {
  it.each(['client', 'server'] as const)('cost another try (%s)', async (side) => {
    await using s3 = await startS3({ kind, tls: true });
    await s3.createBucket(BUCKET);
    await using front = await startTcpFront(s3.endpoint);
    await using dir = await scratchDir('place-');
    const store = createS3Store({ ...s3.settings(BUCKET), endpoint: front.endpoint }, quick);
    if (side === 'client') front.damage(side, MIB);
    await large(store);
    if (side === 'server') front.damage(side, MIB);
    const path = join(dir.path, NAME);
    await store.download({ name: NAME, path }, never);
    expect((await readFile(path)).equals(LARGE)).toBe(true);
    expect(front.damaged).toBe(1);
  });
});
