import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { S3Settings } from '../../src/config/types.ts';
import { createS3Store } from '../../src/stores/s3-store.ts';
import { type FaultFront, type SeenRequest, startFaultFront } from '../support/fault-front.ts';
import { GrowingBytes, MIB, someBytes } from '../support/growing-bytes.ts';
import { openUploadsOf, until } from '../support/s3-looks.ts';
import { type S3Server, s3Kinds, startS3 } from '../support/s3-server.ts';
import { scratchDir } from '../support/scratch.ts';
import { uploadOf } from '../support/store-contract.ts';
import { startTcpFront } from '../support/tcp-front.ts';

const BUCKET = 'snapshots';
const NAME = 'on-demand-node-1-1730308816';
const HOUR = 3_600_000;
const never = new AbortController().signal;
const quick = { program: 'k3s', nodeName: 'node-1', partSize: 5 * MIB, firstRetryMs: 1 } as const;

const isPart = (request: SeenRequest) => request.path.includes('partNumber=');
const isBegin = (request: SeenRequest) => request.method === 'POST' && request.path.includes('uploads');
const denied = { status: 403, body: '<Error><Code>AccessDenied</Code><Message>no</Message></Error>' };

describe.each([false, true])('a line that is slow but moves, tls %s', (tls) => {
  let s3: S3Server;
  beforeAll(async () => {
    s3 = await startS3({ kind: 'versitygw', tls });
    await s3.createBucket(BUCKET);
  });
  afterAll(() => s3?.[Symbol.asyncDispose]());

  it('is cut neither by --s3-timeout nor by --s3-stall-timeout, however long the upload takes', async () => {
    await using front = await startTcpFront(s3.endpoint);
    front.throttleUpward(5 * MIB);
    // A part takes over six seconds, all three sixteen; what the kernel takes at once is gone in two.
    const settings = { ...s3.settings(BUCKET), endpoint: front.endpoint, timeoutMs: 14_000, stallMs: 5_000 };
    const store = createS3Store(settings, { ...quick, maxAttempts: 1, partSize: 32 * MIB, concurrency: 1 });
    const content = someBytes(80 * MIB);
    expect((await store.put(uploadOf(NAME, GrowingBytes.whole(content)), never)).snapshot.size).toBe(
      80 * MIB,
    );
  });

  it('that stops moving ends, long before --s3-timeout', async () => {
    await using front = await startTcpFront(s3.endpoint);
    const settings = { ...s3.settings(BUCKET, 'stop'), endpoint: front.endpoint, stallMs: 500 };
    const store = createS3Store(settings, { ...quick, maxAttempts: 1 });
    const done = store.put(
      uploadOf(NAME, GrowingBytes.whole(someBytes(11 * MIB)), { onProgress: () => front.hang() }),
      never,
    );
    await expect(done).rejects.toMatchObject({ code: 'timeout' });
  });
});

describe.each(s3Kinds)('what an upload waits for, and what it does not depend on, on %s', (kind) => {
  let s3: S3Server;
  beforeAll(async () => {
    s3 = await startS3({ kind });
    await s3.createBucket(BUCKET);
  });
  afterAll(() => s3[Symbol.asyncDispose]());

  const through = (front: FaultFront, folder: string): S3Settings => ({
    ...s3.settings(BUCKET, folder),
    endpoint: front.endpoint,
  });

  it('a part that hangs while the snapshot still grows ends the upload', async () => {
    await using front = await startFaultFront(s3.url);
    front.setRule((request) => (isPart(request) ? 'hang' : undefined));
    const store = createS3Store(through(front, 'stalled'), { ...quick, stallMs: 200, maxAttempts: 2 });
    const bytes = new GrowingBytes(someBytes(16 * MIB));
    const done = store.put(uploadOf(NAME, bytes), never);
    bytes.grow(11 * MIB);
    await expect(done).rejects.toMatchObject({ code: 'timeout' });
    // On a busy machine a begin may seem to stall too, and is made again: what that has begun has no parts, and waits a day.
    const begun = front.requests.filter(isBegin).length;
    expect(await openUploadsOf(s3, BUCKET, `stalled/${NAME}`)).toHaveLength(begun - 1);
  });

  it('a finished upload stands although another one may have been begun: the note stays', async () => {
    await using dir = await scratchDir();
    await using front = await startFaultFront(s3.url);
    let lost = false;
    front.setRule((request) => {
      if (!isBegin(request) || lost) return undefined;
      lost = true;
      return { cutAfterResponseBytes: 0 };
    });
    const store = createS3Store(through(front, 'denied'), { ...quick, journalDir: dir.path });
    const { snapshot, warnings } = await store.put(
      uploadOf(NAME, GrowingBytes.whole(someBytes(11 * MIB))),
      never,
    );
    expect(warnings).toEqual([]);
    expect(await store.stat(NAME, never)).toEqual(snapshot);
    expect(await readdir(dir.path)).toHaveLength(1);
  });

  it('an upload that was begun, as its lost answer would have said, is dropped when it is a day old', async () => {
    await using dir = await scratchDir();
    await using front = await startFaultFront(s3.url);
    let begins = 0;
    front.setRule((request) => {
      if (!isBegin(request)) return undefined;
      begins += 1;
      return begins === 1 ? { cutAfterResponseBytes: 0 } : denied;
    });
    const store = createS3Store(through(front, 'doubt'), { ...quick, journalDir: dir.path });
    const done = store.put(uploadOf(NAME, GrowingBytes.whole(someBytes(11 * MIB))), never);
    await expect(done).rejects.toMatchObject({ code: 'forbidden' });
    expect(begins).toBe(2);
    // Until then it may be another cluster's, for all that anybody can tell; it has no parts.
    expect(await store.sweep(never)).toEqual([]);
    expect(await openUploadsOf(s3, BUCKET, `doubt/${NAME}`)).toHaveLength(1);
    expect(await readdir(dir.path)).toHaveLength(1);
    const clock = { now: () => new Date(Date.now() + 25 * HOUR) };
    const later = createS3Store(through(front, 'doubt'), { ...quick, journalDir: dir.path, clock });
    expect(await later.sweep(never)).toHaveLength(1);
    expect(await openUploadsOf(s3, BUCKET, `doubt/${NAME}`)).toEqual([]);
    expect(await readdir(dir.path)).toEqual([]);
  });

  it('an upload that was begun while its answer was still waited for is noted', async () => {
    await using dir = await scratchDir();
    await using front = await startFaultFront(s3.url);
    front.setRule((request) => (isBegin(request) ? 'mute' : undefined));
    const ended = new AbortController();
    const store = createS3Store(through(front, 'mute'), { ...quick, journalDir: dir.path });
    const done = store.put(uploadOf(NAME, GrowingBytes.whole(someBytes(11 * MIB))), ended.signal);
    const begun = () => openUploadsOf(s3, BUCKET, `mute/${NAME}`);
    await Promise.race([until(async () => (await begun()).length === 1), done]);
    ended.abort();
    await expect(done).rejects.toMatchObject({ code: 'aborted' });
    expect(await readdir(dir.path)).toHaveLength(1);
    front.setRule(() => undefined);
    const clock = { now: () => new Date(Date.now() + 25 * HOUR) };
    const later = createS3Store(through(front, 'mute'), { ...quick, journalDir: dir.path, clock });
    expect(await later.sweep(never)).toHaveLength(1);
    expect(await begun()).toEqual([]);
    expect(await readdir(dir.path)).toEqual([]);
  });

  it('an upload whose begin never left this machine needs no note', async () => {
    await using dir = await scratchDir();
    await using front = await startFaultFront(s3.url);
    const settings = through(front, 'gone');
    await front[Symbol.asyncDispose]();
    const store = createS3Store(settings, { ...quick, maxAttempts: 2, journalDir: dir.path });
    const done = store.put(uploadOf(NAME, GrowingBytes.whole(someBytes(11 * MIB))), never);
    await expect(done).rejects.toMatchObject({ code: 'unavailable' });
    expect(await readdir(dir.path)).toEqual([]);
  });

  it('an operation whose time is up names what failed within it', async () => {
    await using front = await startFaultFront(s3.url);
    front.setRule(() => ({ status: 503 }));
    const store = createS3Store({ ...through(front, 'up'), timeoutMs: 300 }, { ...quick, firstRetryMs: 200 });
    await expect(store.list(never)).rejects.toMatchObject({
      code: 'timeout',
      why: expect.stringMatching(
        /needed longer than 0\.3 s, and the last try failed: .* asks to come back later/,
      ),
      hint: expect.stringContaining('Try again later'),
    });
  });

  it('says what is wrong with the folder of the notes in its own words', async () => {
    await using dir = await scratchDir();
    const file = join(dir.path, 'file');
    await writeFile(file, '');
    const store = createS3Store(s3.settings(BUCKET, 'notes'), { ...quick, journalDir: file });
    await expect(store.sweep(never)).rejects.toMatchObject({ name: 'SnapshotError', code: 'io' });
  });
});
