import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { someBytes } from '../../test/support/growing-bytes.ts';
import { soundSnapshot, startObjectS3 } from '../../test/support/object-s3.ts';
import { type ScratchDir, scratchDir } from '../../test/support/scratch.ts';
import { plainSettings } from '../../test/support/scripted-s3.ts';
import { createS3Store } from './s3-store.ts';

const never = new AbortController().signal;
const PLAIN = 'on-demand-node-1-1730308816';
const ZIP = `${PLAIN}.zip`;
const PART = 1024 * 1024;

const open: AsyncDisposable[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one[Symbol.asyncDispose]();
});

async function serve(...args: Parameters<typeof startObjectS3>) {
  const server = await startObjectS3(...args);
  const place: ScratchDir = await scratchDir('fetch-');
  const store = createS3Store(plainSettings(server.endpoint), {
    program: 'k3s',
    nodeName: 'n1',
    firstRetryMs: 1,
  });
  open.push(place, server, {
    async [Symbol.asyncDispose]() {
      store[Symbol.dispose]();
    },
  });
  return {
    path: (name: string) => join(place.path, name),
    fetch: (name: string) => store.download({ name, path: join(place.path, name) }, never),
    left: () => readdir(place.path),
    gets: () => server.gets(),
  };
}

const strange = {
  verified: 'size',
  warnings: expect.arrayContaining([
    expect.objectContaining({ why: expect.stringContaining('as Amazon makes it') }),
  ]),
};

it('a sound snapshot whose ETag is made in a way of its own comes, with a warning, and in one go', async () => {
  const content = soundSnapshot(10 * (PART / 512));
  const it = await serve(content);
  expect(await it.fetch(PLAIN)).toMatchObject(strange);
  expect((await readFile(it.path(PLAIN))).equals(content)).toBe(true);
  expect(it.gets()).toBe(5);
});

it('an archive whose ETag is made in a way of its own comes, with a warning, when it comes twice the same', async () => {
  const content = someBytes(10 * PART);
  const it = await serve(content);
  expect(await it.fetch(ZIP)).toMatchObject(strange);
  expect((await readFile(it.path(ZIP))).equals(content)).toBe(true);
});

it('is refused, plain or archive, when it is damaged on the way', async () => {
  const damage = (bytes: Buffer, request: number) => {
    const copy = Buffer.from(bytes);
    copy.writeUInt8(copy.readUInt8(request) ^ 1, request);
    return copy;
  };
  const content = soundSnapshot(10 * (PART / 512));
  const it = await serve(content, damage);
  for (const name of [PLAIN, ZIP]) await expect(it.fetch(name)).rejects.toMatchObject({ code: 'corrupt' });
  expect(await it.left()).toEqual([]);
});

it('is refused when its own hash does not hold, however often it comes the same', async () => {
  const content = soundSnapshot(10 * (PART / 512));
  content.writeUInt8(content.readUInt8(9) ^ 1, 9);
  const it = await serve(content);
  await expect(it.fetch(PLAIN)).rejects.toMatchObject({ code: 'corrupt' });
  expect(await it.left()).toEqual([]);
});

it('is not fetched again when the file is there, and that is told by its own hash', async () => {
  const content = soundSnapshot(10 * (PART / 512));
  const it = await serve(content);
  await it.fetch(PLAIN);
  const before = it.gets();
  expect(await it.fetch(PLAIN)).toMatchObject({ verified: 'size', resumed: content.length });
  expect(it.gets() - before).toBe(1);
  await writeFile(it.path(PLAIN), soundSnapshot(10 * (PART / 512)));
  await expect(it.fetch(PLAIN)).rejects.toMatchObject({ code: 'exists' });
});
