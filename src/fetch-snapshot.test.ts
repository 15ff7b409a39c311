import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { scratchDir } from '../test/support/scratch.ts';
import { noFile } from './config/config-file.ts';
import { parseFlags } from './config/flags.ts';
import { resolveConfig } from './config/resolve.ts';
import { locate } from './fetch-snapshot.ts';

const NAME = 'on-demand-node-1-1730308816';

it('a plain name is the file that is here, unless S3 is switched on by hand: it can be restored without S3', async () => {
  await using scratch = await scratchDir('locate-');
  const dir = join(scratch.path, 'snapshots');
  await mkdir(dir);
  await writeFile(join(dir, NAME), '');
  const where = (name: string, args: readonly string[], inFile: Readonly<Record<string, string>>) => {
    const flags = parseFlags(['verify', name, `--dir=${dir}`, '--distribution=custom', ...args]);
    const around = { env: {}, hostname: 'node-1', cwd: '/', exists: () => false };
    return locate(name, resolveConfig('verify', flags, around, { ...noFile, given: inFile }));
  };
  const settings = { s3: 'true', s3Bucket: 'b' };
  const secret = { s3: 'true', s3ConfigSecret: 's3-config' };
  const local = { store: 'local', path: join(dir, NAME) };
  expect(await where(NAME, [], settings)).toEqual(local);
  expect(await where(NAME, [], secret)).toEqual(local);
  expect(await where(NAME, ['--s3'], settings)).toMatchObject({ store: 's3', url: `s3://b/${NAME}` });
  expect(await where('only-there', [], settings)).toMatchObject({ store: 's3', url: 's3://b/only-there' });
  await expect(where('only-there', [], secret)).rejects.toMatchObject({ code: 'usage' });
});
