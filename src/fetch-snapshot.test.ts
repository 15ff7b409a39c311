import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { soundSnapshot, startObjectS3 } from '../test/support/object-s3.ts';
import { scratchDir } from '../test/support/scratch.ts';
import { noFile } from './config/config-file.ts';
import { parseFlags } from './config/flags.ts';
import { resolveConfig } from './config/resolve.ts';
import { download, locate } from './fetch-snapshot.ts';
import type { SaveProgress } from './snapshot/save-snapshot.ts';

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

it('a download shows how far it is, and what was odd about it', async () => {
  const content = soundSnapshot(4_000);
  await using s3 = await startObjectS3(content);
  await using folder = await scratchDir('download-');
  const flags = parseFlags([
    'verify',
    NAME,
    '--s3',
    '--s3-bucket=b',
    '--s3-insecure',
    `--s3-endpoint=${s3.endpoint}`,
    '--s3-access-key=k',
    '--s3-secret-key=s',
  ]);
  const around = { env: {}, hostname: 'node-1', cwd: '/', exists: () => false };
  const config = resolveConfig('verify', flags, around, noFile);
  const where = await locate(NAME, config);
  if (where.store !== 's3') throw new Error('it is not on S3');
  const shown: SaveProgress[] = [];
  const warned: Error[] = [];
  let cleared = 0;
  const watcher = {
    progress: {
      show: (progress: SaveProgress) => void shown.push(progress),
      clear() {
        cleared += 1;
      },
    },
    warn: (warnings: readonly Error[]) => void warned.push(...warnings),
  };
  const path = await download(where, folder.path, config, watcher, new AbortController().signal);
  expect((await readFile(path)).equals(content)).toBe(true);
  expect(shown.at(-1)).toEqual({ store: 's3', bytes: content.length, total: content.length });
  expect(cleared).toBe(1);
  expect(warned).toMatchObject([{ message: expect.stringContaining('only its size was compared') }]);
});
