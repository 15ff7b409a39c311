import { appendFile, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DeleteObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createS3Store, type S3StoreOptions } from '../../src/stores/s3-store.ts';
import { type Fault, type SeenRequest, startFaultFront } from '../support/fault-front.ts';
import { GrowingBytes, MIB, someBytes } from '../support/growing-bytes.ts';
import { type S3Front, startS3Front } from '../support/s3-front.ts';
import { until } from '../support/s3-looks.ts';
import { type S3Server, s3Servers, startS3 } from '../support/s3-server.ts';
import { type ScratchDir, scratchDir } from '../support/scratch.ts';
import { smallDisk } from '../support/small-disk.ts';
import { uploadOf } from '../support/store-contract.ts';

const BUCKET = 'snapshots';
const NAME = 'on-demand-node-1-1730308816';
const PART = 5 * MIB;
/** Four parts, the last of one MiB. */
const SIZE = 16 * MIB;
const never = new AbortController().signal;
const quick = { program: 'k3s', nodeName: 'node-1', partSize: PART, firstRetryMs: 1 } as const;

const isGet = ({ method, headers }: SeenRequest) => method === 'GET' && headers.range !== undefined;
const rangesAsked = (front: S3Front) =>
  front.requests.filter(isGet).map(({ headers }) => {
    const [, start, end] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? [];
    return { start: Number(start), end: Number(end) + 1 };
  });
const bytesAsked = (front: S3Front) =>
  rangesAsked(front).reduce((sum, { start, end }) => sum + end - start, 0);

describe.each(s3Servers)('a download from $kind, tls $tls,', ({ kind, tls }) => {
  let s3: S3Server;
  let dir: ScratchDir;
  let folders = 0;
  const shared = new Map<number, Awaited<ReturnType<typeof upload>>>();
  beforeAll(async () => {
    s3 = await startS3({ kind, tls });
    await s3.createBucket(BUCKET);
    dir = await scratchDir('download-');
  });
  afterAll(async () => {
    await s3?.[Symbol.asyncDispose]();
    await dir?.[Symbol.asyncDispose]();
  });

  async function upload(size: number) {
    folders += 1;
    const folder = `folder-${folders}`;
    const content = someBytes(size);
    const facts = { tokenHash: 't', metadata: { a: 'b' } };
    const direct = createS3Store(s3.settings(BUCKET, folder), quick);
    const bytes = GrowingBytes.whole(content);
    const { snapshot } = await direct.put(uploadOf(NAME, bytes, { facts: Promise.resolve(facts) }), never);
    return { folder, content, snapshot, direct };
  }

  /** A snapshot, in a folder of its own when it will be changed, a front before it, and a place for the file. */
  async function scene(size = SIZE, options: Partial<S3StoreOptions> = {}, isShared = true) {
    const stored = await (isShared ? (shared.get(size) ?? upload(size)) : upload(size));
    if (isShared) shared.set(size, stored);
    const { folder, content, snapshot, direct } = stored;
    const front = await startS3Front(s3);
    const store = createS3Store(front.settings(BUCKET, folder), { ...quick, ...options });
    const place = await scratchDir('place-');
    const path = join(place.path, NAME);
    return {
      folder,
      content,
      snapshot,
      direct,
      front,
      store,
      path,
      fetch: (signal = never, onProgress?: (bytes: number, size: number) => void) =>
        store.download({ name: NAME, path, ...(onProgress === undefined ? {} : { onProgress }) }, signal),
      names: async () => (await readdir(place.path)).toSorted(),
      isWhole: async () => (await readFile(path)).equals(content),
      async [Symbol.asyncDispose]() {
        store[Symbol.dispose]();
        await front[Symbol.asyncDispose]();
        await place[Symbol.asyncDispose]();
      },
    };
  }

  it.each([
    ['of one request', 5_152],
    ['of parts', SIZE],
  ])('is the snapshot, verified, with what is known of it (%s)', async (_what, size) => {
    await using it = await scene(size);
    const seen: [number, number][] = [];
    const got = await it.fetch(never, (bytes, of) => seen.push([bytes, of]));
    const location = { ...it.snapshot.location, endpoint: it.front.endpoint };
    const snapshot = { ...it.snapshot, location };
    expect(got).toEqual({ snapshot, verified: 'sum', resumed: 0, warnings: [] });
    expect(await it.isWhole()).toBe(true);
    expect((await stat(it.path)).mode & 0o777).toBe(0o600);
    expect(await it.names()).toEqual([NAME]);
    expect(seen.at(-1)).toEqual([size, size]);
    expect(bytesAsked(it.front)).toBe(size);
  });

  it('asks for several ranges at once', async () => {
    await using it = await scene();
    const four = Promise.withResolvers<void>();
    const asked = new Set<string | undefined>();
    it.front.setRule((request) => {
      if (!isGet(request)) return undefined;
      asked.add(request.headers.range);
      if (asked.size === 4) four.resolve();
      return { after: four.promise };
    });
    await it.fetch();
    expect(await it.isWhole()).toBe(true);
  });

  it('goes on where it was when every answer breaks off, again and again', async () => {
    await using it = await scene();
    it.front.setRule((request) => (isGet(request) ? { cutAfterResponseBytes: 2 * MIB } : undefined));
    await it.fetch();
    expect(await it.isWhole()).toBe(true);
    // Two cuts in each of three parts, and what was on its way at each of them.
    expect(rangesAsked(it.front).length).toBeGreaterThan(9);
    expect(bytesAsked(it.front)).toBeLessThan(2 * SIZE);
  });

  it.each([
    ['before the answer', 'hang'],
    ['after its head', { hangAfterResponseBytes: 0 }],
  ] as const)(
    'ends as a timeout when a server hangs %s; no file, and the next goes on',
    async (_what, fault) => {
      await using it = await scene(SIZE, { maxAttempts: 2, stallMs: 300 });
      it.front.setRule((request) =>
        isGet(request) && request.headers.range !== `bytes=0-${PART - 1}` ? fault : undefined,
      );
      let had = 0;
      const done = it.fetch(never, (bytes) => {
        had = bytes;
      });
      await expect(done).rejects.toMatchObject({
        code: 'timeout',
        hint: expect.stringContaining('--s3-'),
      });
      expect(await it.names()).not.toContain(NAME);
      it.front.setRule(() => undefined);
      const before = bytesAsked(it.front);
      const patient = createS3Store(it.front.settings(BUCKET, it.folder), quick);
      expect((await patient.download({ name: NAME, path: it.path }, never)).resumed).toBe(had);
      expect(bytesAsked(it.front) - before).toBe(SIZE - had);
      expect(await it.isWhole()).toBe(true);
      expect(await it.names()).toEqual([NAME]);
    },
  );

  it('recovers from storms of 503 and resets', async () => {
    await using it = await scene();
    const storm: readonly Fault[] = [{ status: 503 }, { cutAfterResponseBytes: 0 }, { status: 500 }];
    const tries = new Map<string, number>();
    it.front.setRule((request) => {
      if (!isGet(request)) return undefined;
      const key = request.headers.range ?? '';
      const count = tries.get(key) ?? 0;
      tries.set(key, count + 1);
      return storm[count];
    });
    await it.fetch();
    expect(await it.isWhole()).toBe(true);
  });

  it('that is interrupted has no file, and what had arrived is not fetched again, if it is still sound', async () => {
    await using it = await scene();
    const ended = new AbortController();
    it.front.setRule((request) =>
      isGet(request) && request.headers.range?.startsWith(`bytes=${3 * PART}-`) ? 'hang' : undefined,
    );
    const done = it.fetch(ended.signal, (bytes) => {
      if (bytes === 3 * PART) ended.abort();
    });
    await expect(done).rejects.toMatchObject({ code: 'aborted' });
    const left = await it.names();
    expect(left).toEqual([
      expect.stringMatching(/^\.on-demand.*\.download$/),
      expect.stringMatching(/\.ranges$/),
    ]);
    // As after a power cut: one range is other than the list says, and the list ends in the middle of a line.
    const [data = '', list = ''] = left.map((name) => join(it.path, '..', name));
    const bytes = await readFile(data);
    bytes.writeUInt8(bytes.readUInt8(3) ^ 1, 3);
    await writeFile(data, bytes);
    await appendFile(list, '3 00');
    it.front.setRule(() => undefined);
    const before = rangesAsked(it.front).length;
    expect((await it.fetch()).resumed).toBe(2 * PART);
    expect(rangesAsked(it.front).slice(before)[0]).toEqual({ start: 0, end: PART });
    expect(await it.isWhole()).toBe(true);
    expect(await it.names()).toEqual([NAME]);
  });

  it('notices damaged bytes: fetched again once, and refused when it stays so', async () => {
    await using it = await scene();
    let damaged = 1;
    it.front.setRule((request) => {
      if (!isGet(request) || damaged === 0) return undefined;
      damaged -= 1;
      return { damagesResponseByte: 77 };
    });
    expect((await it.fetch()).warnings).toMatchObject([{ code: 'corrupt' }]);
    expect(await it.isWhole()).toBe(true);

    await using bad = await scene();
    bad.front.setRule((request) => (isGet(request) ? { damagesResponseByte: 77 } : undefined));
    await expect(bad.fetch()).rejects.toMatchObject({ code: 'corrupt', why: expect.stringContaining('MD5') });
    expect(await bad.names()).toEqual([]);
  });

  it('of an object that is replaced, or vanishes, in the middle ends with the reason, and leaves nothing', async () => {
    const begin = async (change: (it: Awaited<ReturnType<typeof scene>>) => Promise<unknown>) => {
      const it = await scene(SIZE, {}, false);
      const changed = Promise.withResolvers<void>();
      it.front.setRule((request) =>
        isGet(request) && rangesAsked(it.front).length > 3 ? { after: changed.promise } : undefined,
      );
      const done = it.fetch();
      void Promise.allSettled([done]);
      await until(() => rangesAsked(it.front).length > 3);
      await change(it);
      changed.resolve();
      return { it, done };
    };
    const replaced = await begin(async (it) => {
      await it.direct.remove(NAME, never);
      await it.direct.put(uploadOf(NAME, GrowingBytes.whole(someBytes(SIZE))), never);
    });
    await expect(replaced.done).rejects.toMatchObject({ code: 'conflict', hint: expect.any(String) });
    const gone = await begin((it) =>
      s3.client().send(new DeleteObjectCommand({ Bucket: BUCKET, Key: `${it.folder}/${NAME}` })),
    );
    await expect(gone.done).rejects.toMatchObject({ code: 'not-found', hint: expect.any(String) });
    for (const { it } of [replaced, gone]) {
      expect(await it.names()).toEqual([]);
      await it[Symbol.asyncDispose]();
    }
  });

  it('leaves a file of that name alone: fine if it has the bytes already, refused otherwise', async () => {
    await using it = await scene();
    await writeFile(it.path, it.content);
    expect(await it.fetch()).toMatchObject({ verified: 'sum', resumed: SIZE });
    expect(rangesAsked(it.front)).toEqual([]);
    const other = Buffer.from(it.content);
    other.writeUInt8(other.readUInt8(9) ^ 1, 9);
    for (const bytes of [other, Buffer.from('short')]) {
      await writeFile(it.path, bytes);
      await expect(it.fetch()).rejects.toMatchObject({ code: 'exists', hint: expect.any(String) });
      expect((await readFile(it.path)).equals(bytes)).toBe(true);
    }
    expect(await it.names()).toEqual([NAME]);
  });

  it('of another version takes nothing of the one before, and removes what is left of it', async () => {
    await using it = await scene(SIZE, {}, false);
    const ended = new AbortController();
    const done = it.fetch(ended.signal, () => ended.abort());
    await expect(done).rejects.toMatchObject({ code: 'aborted' });
    const content = someBytes(SIZE);
    await it.direct.remove(NAME, never);
    await it.direct.put(uploadOf(NAME, GrowingBytes.whole(content)), never);
    expect(await it.fetch()).toMatchObject({ resumed: 0, verified: 'sum' });
    expect((await readFile(it.path)).equals(content)).toBe(true);
    expect(await it.names()).toEqual([NAME]);
  });

  it.each([
    ['refuses to', { status: 501 }, [{ code: 'unavailable' }]],
    ['says that they are empty', { status: 200, headers: { 'content-length': '0' } }, []],
    ['says that they are tiny', { status: 200, headers: { 'content-length': '1' } }, []],
    ['says that there is one', { status: 200, headers: { 'content-length': String(SIZE) } }, []],
  ] as const)(
    'comes also from a server that tells the size of no part: it %s',
    async (_what, fault, warnings) => {
      await using it = await scene();
      it.front.setRule(({ path }) => (path.includes('partNumber=1') ? fault : undefined));
      expect(await it.fetch()).toMatchObject({ verified: 'size', warnings });
      expect(await it.isWhole()).toBe(true);
    },
  );

  it('does not take other bytes than it asked for', async () => {
    await using it = await scene(5_152);
    for (const headers of [{}, { 'content-range': 'bytes 0-9/5152' }]) {
      it.front.setRule((request) =>
        isGet(request) ? { status: 200, body: 'x'.repeat(10), headers } : undefined,
      );
      await expect(it.fetch()).rejects.toMatchObject({
        code: 'protocol',
        why: expect.stringContaining('where bytes 0-5151 were asked for'),
        hint: expect.any(String),
      });
      expect(await it.names()).not.toContain(NAME);
    }
  });

  it('says so before it begins when the disk has no room, and what is missing when it is not there', async () => {
    await using it = await scene();
    await using disk = await smallDisk(10 * MIB);
    const fetch = (name: string, path: string) => it.store.download({ name, path }, never);
    await expect(fetch(NAME, join(disk.path, NAME))).rejects.toMatchObject({
      code: 'disk-full',
      why: expect.stringContaining(`${SIZE} bytes are needed`),
    });
    expect(rangesAsked(it.front)).toEqual([]);
    await expect(fetch('on-demand-node-1-1', join(disk.path, 'x'))).rejects.toMatchObject({
      code: 'not-found',
    });
    await expect(fetch(NAME, join(disk.path, 'no', 'x'))).rejects.toMatchObject({ code: 'not-found' });
    await expect(fetch('../x', join(disk.path, 'x'))).rejects.toMatchObject({ code: 'usage' });
  });
});

it('of an object whose ETag is no sum says that only its size was verified', async () => {
  await using s3 = await startS3({ kind: 'minio', encrypts: true });
  await using place = await scratchDir('place-');
  await s3.createBucket(BUCKET);
  await using front = await startFaultFront(s3.url);
  const store = createS3Store({ ...s3.settings(BUCKET), endpoint: front.endpoint }, quick);
  for (const size of [5_152, 11 * MIB]) {
    const content = someBytes(size);
    await store.put(uploadOf(NAME, GrowingBytes.whole(content)), never);
    const path = join(place.path, String(size));
    expect(await store.download({ name: NAME, path }, never)).toMatchObject({ verified: 'size' });
    expect((await readFile(path)).equals(content)).toBe(true);
    await store.remove(NAME, never);
  }
});
