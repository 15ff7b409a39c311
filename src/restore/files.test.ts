import { chmod, chown, mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { scratchDir } from '../../test/support/scratch.ts';
import { settledBy } from '../../test/support/settled.ts';
import { treeOf } from '../../test/support/tree.ts';
import { copyTree, removeUnfinished, writeSmall } from './files.ts';

it('a copied folder is as it was, owners and modes and links too, and all of it is on the disk', async () => {
  await using scratch = await scratchDir();
  const [from, to] = [join(scratch.path, 'tls'), join(scratch.path, 'copy')];
  await mkdir(join(from, 'etcd'), { recursive: true });
  await writeFile(join(from, 'server-ca.crt'), 'CA', { mode: 0o644 });
  await writeFile(join(from, 'etcd/own.key'), 'key');
  await symlink('server-ca.crt', join(from, 'link.crt'));
  await chown(join(from, 'etcd/own.key'), 65_534, 65_534);
  await chmod(join(from, 'etcd/own.key'), 0o4640);
  await chmod(join(from, 'etcd'), 0o2550);
  const settled = await settledBy(scratch.path, () => copyTree(from, to));
  expect(await treeOf(to)).toEqual(await treeOf(from));
  expect(settled).toEqual(['copy', 'copy/etcd', 'copy/etcd/own.key', 'copy/server-ca.crt']);
});

it('what a write has left that was cut off goes with the next, and with it only', async () => {
  await using scratch = await scratchDir();
  const path = join(scratch.path, '.etcd-restore.json');
  const mark = '.f329e3a300000000.part';
  for (const name of [
    `..etcd-restore.json${mark}`,
    `.other${mark}`,
    '..etcd-restore.json.0000000000000000.part',
  ])
    await writeFile(join(scratch.path, name), 'half');
  await writeSmall(path, 'whole');
  const others = [`.other${mark}`, '..etcd-restore.json.0000000000000000.part'];
  expect((await readdir(scratch.path)).sort()).toEqual([...others, '.etcd-restore.json'].sort());
  await removeUnfinished(join(scratch.path, 'nonexistent/file'));
});
