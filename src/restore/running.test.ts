import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { scratchDir } from '../../test/support/scratch.ts';
import { isOfThisNode, usersOf } from './running.ts';

const started: ChildProcess[] = [];
afterEach(async () => {
  for (const child of started.splice(0)) {
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }
});

/** Runs a script that ends in a program which says `open` when it has the file open, and keeps it so. */
async function keepOpen(script: string): Promise<number | undefined> {
  const child = spawn('sh', ['-ec', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  started.push(child);
  await Promise.race([
    once(child.stdout, 'data'),
    once(child, 'exit').then(() => {
      throw new Error(`it ended: ${script}`);
    }),
  ]);
  return child.pid;
}

async function dataFolder(path: string): Promise<string> {
  await mkdir(join(path, 'member/snap'), { recursive: true });
  await writeFile(join(path, 'member/snap/db'), 'a database');
  return path;
}

const open = (folder: string) => `exec sh -c 'exec 3<${folder}/member/snap/db; echo open; read line'`;

it('names the program that has the data open', async () => {
  await using scratch = await scratchDir();
  const data = await dataFolder(join(scratch.path, 'etcd'));
  const pid = await keepOpen(open(data));
  expect(await usersOf(data)).toEqual([{ pid, program: 'sh', file: `${data}/member/snap/db` }]);
});

it('does not take a folder whose name only begins alike for the data', async () => {
  await using scratch = await scratchDir();
  const data = await dataFolder(join(scratch.path, 'etcd'));
  await keepOpen(open(await dataFolder(join(scratch.path, 'etcd2'))));
  expect(await usersOf(data)).toEqual([]);
});

it('finds a container that knows the data by another name', async () => {
  await using scratch = await scratchDir();
  const data = await dataFolder(join(scratch.path, 'disk/etcd'));
  const inside = join(scratch.path, 'inside');
  await mkdir(inside);
  const pid = await keepOpen(`exec unshare -m sh -ec "mount --bind ${data} ${inside}; ${open(inside)}"`);
  expect(await usersOf(data)).toMatchObject([{ pid, file: `${inside}/member/snap/db` }]);
});

it('does not take a container whose own data have the same name for one that has these open', async () => {
  await using scratch = await scratchDir();
  const data = await dataFolder(join(scratch.path, 'etcd'));
  const other = await dataFolder(join(scratch.path, 'other'));
  await keepOpen(`exec unshare -m sh -ec "mount --bind ${other} ${data}; ${open(data)}"`);
  expect(await usersOf(data)).toEqual([]);
});

it('finds a program whose data were removed while it runs', async () => {
  await using scratch = await scratchDir();
  const data = await dataFolder(join(scratch.path, 'etcd'));
  const pid = await keepOpen(
    `exec sh -ec 'exec 3<${data}/member/snap/db; rm -r ${data}; echo open; read line'`,
  );
  expect(await usersOf(data)).toMatchObject([{ pid, file: `${data}/member/snap/db (deleted)` }]);
});

it('tells addresses of this node from those of others', () => {
  const here = ['10.0.0.1', 'fd00::1'];
  const own = ['127.0.0.1', '127.0.0.9', '::1', '::ffff:127.0.0.1', ...here];
  expect([...own, '10.0.0.2', 'fd00::2'].filter((one) => isOfThisNode(one, here))).toEqual(own);
});
