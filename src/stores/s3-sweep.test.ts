import { readdir, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { startFaultFront } from '../../test/support/fault-front.ts';
import { MIB, someBytes } from '../../test/support/growing-bytes.ts';
import { scratchDir } from '../../test/support/scratch.ts';
import { plainSettings, startScriptedS3 } from '../../test/support/scripted-s3.ts';
import { bytesOf, uploadOf } from '../../test/support/store-contract.ts';
import { SnapshotError } from '../errors.ts';
import type { S3Connection } from './s3-client.ts';
import { noteUpload } from './s3-journal.ts';
import { dropUpload } from './s3-multipart.ts';
import { createS3Store } from './s3-store.ts';

const NAME = 'on-demand-node-1-1730308816';
const never = new AbortController().signal;
const base = { program: 'k3s', nodeName: 'node-1', partSize: MIB, firstRetryMs: 1, maxAttempts: 2 } as const;

it('does without a list of uploads where the id of the only one is known', async () => {
  await using s3 = await startScriptedS3({ mayListUploads: false });
  await using dir = await scratchDir();
  const store = createS3Store(s3.settings, { ...base, journalDir: dir.path });
  const proven = Promise.reject(new SnapshotError('corrupt', 'the hash is wrong'));
  void Promise.allSettled([proven]);
  const bytes = { ...bytesOf(someBytes(2 * MIB)), proven };
  await expect(store.put(uploadOf(NAME, bytes), never)).rejects.toMatchObject({ code: 'corrupt' });
  expect(s3.diary.slice(-2)).toEqual(['abort', 'list parts']);
  expect(await readdir(dir.path)).toEqual([]);
});

it('does what it can without the right to list uploads, each note on its own, and names the right once', async () => {
  await using s3 = await startScriptedS3({ mayListUploads: false });
  await using dir = await scratchDir();
  const note = (name: string) => noteUpload(dir.path, s3.settings, { name, nodeName: 'node-1' });
  for (const second of [1, 2]) await note(`on-demand-node-1-173030881${second}`);
  for (const second of [3, 4]) await (await note(`on-demand-node-1-173030881${second}`)).begun('id', false);
  const store = createS3Store(s3.settings, { ...base, journalDir: dir.path });
  await expect(store.sweep(never)).rejects.toMatchObject({
    code: 'forbidden',
    hint: expect.stringContaining('ListMultipartUploads'),
  });
  expect(s3.diary.filter((what) => what === 'abort')).toHaveLength(2);
  const left = (await readdir(dir.path)).map((file) => file.slice(0, NAME.length + 1)).toSorted();
  expect(left).toEqual(['.on-demand-node-1-1730308811', '.on-demand-node-1-1730308812']);
});

it('asks a server that does not answer only once', async () => {
  await using s3 = await startScriptedS3();
  await using dir = await scratchDir();
  await using front = await startFaultFront(`http://${s3.settings.endpoint}`);
  front.setRule(() => ({ status: 503 }));
  const settings = { ...s3.settings, endpoint: front.endpoint };
  for (const name of ['a-node-1-1', 'a-node-1-2']) {
    await (await noteUpload(dir.path, settings, { name, nodeName: 'node-1' })).begun('id', false);
  }
  const store = createS3Store(settings, { ...base, maxAttempts: 1, journalDir: dir.path });
  await expect(store.sweep(never)).rejects.toMatchObject({ code: 'unavailable' });
  expect(front.requests).toHaveLength(1);
});

const DAY_MS = 86_400_000;

it('drops an upload again until none of the parts that were on their way is left', async () => {
  await using s3 = await startScriptedS3({ lateParts: 2 });
  await using dir = await scratchDir();
  const store = createS3Store(s3.settings, { ...base, journalDir: dir.path });
  const proven = Promise.reject(new SnapshotError('corrupt', 'the hash is wrong'));
  void Promise.allSettled([proven]);
  const bytes = { ...bytesOf(someBytes(2 * MIB)), proven };
  await expect(store.put(uploadOf(NAME, bytes), never)).rejects.toMatchObject({ code: 'corrupt' });
  expect(s3.diary.filter((what) => what === 'abort')).toHaveLength(3);
  expect(await readdir(dir.path)).toEqual([]);
});

it('ends with why it was ended, also between two drops of an upload', async () => {
  const settings = plainSettings('127.0.0.1:1');
  for (const [reason, code] of [
    [undefined, 'aborted'],
    [new SnapshotError('timeout', 'the time is up'), 'timeout'],
  ] as const) {
    const over = new AbortController();
    const call = async (operation: string) => {
      // When what comes now has been taken in, and it waits.
      if (operation === 'ListParts') setImmediate(() => over.abort(reason));
      return { Parts: [{ PartNumber: 1 }] };
    };
    const connection = { settings, call } as unknown as S3Connection;
    await expect(dropUpload(connection, NAME, 'it', over.signal)).rejects.toMatchObject({ code });
  }
});

it('keeps the note where nobody may look whether parts are left, until the upload is told to be gone', async () => {
  await using s3 = await startScriptedS3();
  await using dir = await scratchDir();
  await using front = await startFaultFront(`http://${s3.settings.endpoint}`);
  const settings = { ...s3.settings, endpoint: front.endpoint };
  await (await noteUpload(dir.path, settings, { name: NAME, nodeName: 'node-1' })).begun('it', false);
  const store = createS3Store(settings, { ...base, journalDir: dir.path });
  front.setRule(({ path }) => (path.includes('max-parts') ? { status: 403 } : undefined));
  expect(await store.sweep(never)).toHaveLength(1);
  expect(await readdir(dir.path)).toHaveLength(1);
  const body = '<Error><Code>NoSuchUpload</Code></Error>';
  front.setRule(({ method }) => (method === 'DELETE' ? { status: 404, body } : undefined));
  expect(await store.sweep(never)).toEqual([]);
  expect(await readdir(dir.path)).toEqual([]);
});

const hours = (count: number) => ({ now: () => new Date(Date.now() + count * 3_600_000) });

it('leaves alone what another cluster may be at under the same key, until nobody can be', async () => {
  const others = [
    { uploadId: 'young', initiated: new Date() },
    { uploadId: 'old', initiated: new Date(Date.now() - DAY_MS - 1000) },
  ];
  await using s3 = await startScriptedS3({ others });
  await using dir = await scratchDir();
  await noteUpload(dir.path, s3.settings, { name: NAME, nodeName: 'node-1' });
  const sweep = (clock = hours(0)) =>
    createS3Store(s3.settings, { ...base, journalDir: dir.path, clock }).sweep(never);
  expect(await sweep()).toEqual([`unfinished upload of s3://bucket/${NAME}`]);
  expect(s3.diary.filter((what) => what.startsWith('abort'))).toEqual(['abort old']);
  expect(await readdir(dir.path)).toHaveLength(1);
  expect(await sweep(hours(25))).toHaveLength(1);
  expect(s3.diary.filter((what) => what.startsWith('abort'))).toEqual(['abort old', 'abort young']);
  expect(await readdir(dir.path)).toEqual([]);
});

it.each([2 * MIB + 32, 2 * MIB - 32])(
  "an upload whose begin got no answer at first touches nobody else's (%i bytes)",
  async (size) => {
    await using s3 = await startScriptedS3({ others: [{ uploadId: 'theirs', initiated: new Date() }] });
    await using dir = await scratchDir();
    await using front = await startFaultFront(`http://${s3.settings.endpoint}`);
    let lost = 0;
    front.setRule(({ path }) => {
      if (!/[?&]uploads\b/.test(path) || lost > 0) return undefined;
      lost += 1;
      return { cutAfterResponseBytes: 0 };
    });
    const settings = { ...s3.settings, endpoint: front.endpoint };
    const store = createS3Store(settings, { ...base, journalDir: dir.path });
    const isBroken = size % 512 !== 32;
    const bytes = isBroken
      ? { ...bytesOf(someBytes(size)), proven: Promise.resolve(size + 1) }
      : bytesOf(someBytes(size));
    const done = store.put(uploadOf(NAME, bytes), never);
    if (isBroken) await expect(done).rejects.toMatchObject({ code: 'corrupt' });
    else expect((await done).warnings).toEqual([]);
    expect(s3.diary.filter((what) => what.startsWith('abort'))).toEqual(isBroken ? ['abort'] : []);
    // What was begun without an answer has no parts; the note finds it when it is a day old.
    expect(await readdir(dir.path)).toHaveLength(1);
  },
);

it('forgets notes that are of use to nobody, of whatever node and bucket, after 30 days', async () => {
  await using s3 = await startScriptedS3();
  await using dir = await scratchDir();
  const elsewhere = { ...s3.settings, bucket: 'given-up' };
  await noteUpload(dir.path, elsewhere, { name: NAME, nodeName: 'node-1' });
  await noteUpload(dir.path, s3.settings, { name: NAME, nodeName: 'renamed' });
  const old = await readdir(dir.path);
  const then = new Date(Date.now() - 31 * DAY_MS);
  for (const file of old) await utimes(join(dir.path, file), then, then);
  await noteUpload(dir.path, elsewhere, { name: 'on-demand-node-1-1730308817', nodeName: 'node-1' });
  const store = createS3Store(s3.settings, { ...base, journalDir: dir.path });
  expect((await store.sweep(never)).filter((line) => line.includes('30 days'))).toHaveLength(2);
  expect(await readdir(dir.path)).toEqual([expect.stringContaining('1730308817')]);
});
