import { chmod, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { scratchDir } from '../../test/support/scratch.ts';
import { openKeptWishes } from './kept-wishes.ts';

const warnings: string[] = [];
const logger = { warn: (_facts: unknown, message: string) => warnings.push(message) } as never;
const held = { 'etcd.k3s.cattle.io/snapshot-hold': 'audit' };

it('what was kept last is known to the next process, and nothing lies there once nothing is to be kept', async () => {
  await using scratch = await scratchDir('wishes-');
  const dir = join(scratch.path, 'snapshots');
  {
    await using kept = await openKeptWishes(dir, logger);
    expect(kept.known).toEqual(new Map());
    const all = new Map([['n1 file:///a', held]]);
    kept.keep(all);
    all.set('s3 s3://etcd/b', held);
    kept.keep(all);
  }
  {
    await using kept = await openKeptWishes(dir, logger);
    expect([...kept.known.keys()]).toEqual(['n1 file:///a', 's3 s3://etcd/b']);
    expect(kept.known.get('n1 file:///a')).toEqual(held);
    // A sibling folder has its own.
    await using sibling = await openKeptWishes(join(scratch.path, 'others'), logger);
    expect(sibling.known.size).toBe(0);
    kept.keep(new Map());
  }
  expect(await readdir(join(scratch.path, '.metadata'))).toEqual([]);
  expect(warnings).toEqual([]);
});

it('a file that is damaged is no reason not to start, nor one that cannot be written', async () => {
  await using scratch = await scratchDir('wishes-');
  const folder = join(scratch.path, '.metadata');
  await mkdir(folder);
  const damaged = JSON.stringify({ a: '{', b: '[]', c: '{"x":1}', d: JSON.stringify(held) });
  await writeFile(join(folder, '.etcd-snapshot-wishes-snapshots'), damaged);
  {
    await using kept = await openKeptWishes(join(scratch.path, 'snapshots'), logger);
    expect(kept.known).toEqual(new Map([['d', held]]));
  }
  await writeFile(join(scratch.path, 'no-folder'), '');
  await chmod(join(scratch.path, 'no-folder'), 0o600);
  {
    await using kept = await openKeptWishes(join(scratch.path, 'no-folder', 'snapshots'), logger);
    warnings.length = 0;
    kept.keep(new Map([['n1 file:///a', held]]));
  }
  expect(warnings).toEqual(['What people have asked of records cannot be kept']);
});
