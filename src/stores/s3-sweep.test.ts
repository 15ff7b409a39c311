import { readdir } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { startFaultFront } from '../../test/support/fault-front.ts';
import { MIB, someBytes } from '../../test/support/growing-bytes.ts';
import { scratchDir } from '../../test/support/scratch.ts';
import { startScriptedS3 } from '../../test/support/scripted-s3.ts';
import { bytesOf, uploadOf } from '../../test/support/store-contract.ts';
import { SnapshotError } from '../errors.ts';
import { noteUpload } from './s3-journal.ts';
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
  expect(s3.diary.at(-1)).toBe('abort');
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
