import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { scratchDir } from '../../test/support/scratch.ts';
import { flushBeside } from './flush-beside.ts';

const never = new AbortController().signal;

it('needs no file, and takes one that comes later', async () => {
  await using scratch = await scratchDir();
  const path = join(scratch.path, 'db');
  const none = flushBeside(path, never);
  await expect(none()).resolves.toBeUndefined();
  const later = flushBeside(path, never);
  await writeFile(path, 'bytes');
  await expect(later()).resolves.toBeUndefined();
});

it('keeps what the disk said, since nobody else is told', async () => {
  await using scratch = await scratchDir();
  const file = join(scratch.path, 'file');
  await writeFile(file, '');
  const path = join(file, 'db');
  const end = flushBeside(path, never);
  await expect(end()).rejects.toMatchObject({
    code: 'io',
    message: `${path} cannot be written to the disk`,
    hint: expect.stringMatching(/Check the disk/),
  });
});

it('does not wait for the disk when it is interrupted', async () => {
  await using scratch = await scratchDir();
  const stop = new AbortController();
  const end = flushBeside(join(scratch.path, 'db'), stop.signal);
  stop.abort();
  await expect(end()).rejects.toMatchObject({ code: 'aborted' });
});
