import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { diskDiary } from '../../test/support/disk-diary.ts';
import { scratchDir } from '../../test/support/scratch.ts';
import { isTemporaryOf, makeFolder, temporaryPath, writeAtomically } from './atomic-write.ts';

it('a small file is synced before it has its name, and its name before it counts', async () => {
  await using scratch = await scratchDir();
  const { calls, diary } = diskDiary();
  const path = join(scratch.path, 'metadata', 'file');
  await writeAtomically(path, 'node-1', 'text', calls);
  expect(await readFile(path, 'utf8')).toBe('text');
  expect(diary.slice(1)).toEqual([
    'write .file.*.part',
    'sync .file.*.part',
    'rename .file.*.part file',
    'sync metadata/',
  ]);
});

it('leaves nothing of a small file that cannot have its name', async () => {
  await using scratch = await scratchDir();
  const { calls } = diskDiary({ rename: () => Promise.reject(new Error('no')) });
  await expect(writeAtomically(join(scratch.path, 'file'), 'node-1', 'text', calls)).rejects.toThrow('no');
  expect(await readdir(scratch.path)).toEqual([]);
});

it('a folder that is made is durable, with all those above it that were made', async () => {
  await using scratch = await scratchDir();
  const synced: string[] = [];
  const { calls } = diskDiary({
    syncFolder: async (path) => {
      synced.push(path);
    },
  });
  await makeFolder(join(scratch.path, 'a', 'b', 'c'), calls);
  expect(synced.toSorted()).toEqual([scratch.path, join(scratch.path, 'a'), join(scratch.path, 'a', 'b')]);
  synced.length = 0;
  await makeFolder(join(scratch.path, 'a', 'b', 'c'), calls);
  expect(synced).toEqual([]);
});

it('a temporary name tells whose it is', () => {
  const path = temporaryPath('/folder/file', 'node-1');
  expect(isTemporaryOf('node-1', path.slice('/folder/'.length))).toBe(true);
  expect(isTemporaryOf('node-2', path.slice('/folder/'.length))).toBe(false);
});
