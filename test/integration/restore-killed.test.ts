import { chmod, chown, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findSnapshotFile } from '../../src/restore/snapshot-file.ts';
import { unpackInto } from '../../src/restore/unpack.ts';
import { type EtcdCluster, startEtcd } from '../support/etcd-server.ts';
import { k3sBootstrap } from '../support/k3s-bootstrap.ts';
import { dyingBeforeName, restoreHere } from '../support/restore-here.ts';
import { type ScratchDir, scratchDir } from '../support/scratch.ts';
import { settledBy } from '../support/settled.ts';
import { smallDisk } from '../support/small-disk.ts';
import { snapshotOf, toolsFlag } from '../support/snapshot-of.ts';
import { treeOf } from '../support/tree.ts';

/*
 * A restore, and what undoes it, die before every single change of a name, which includes every entry of the journal. Where steps
 * begin they are killed for real in restore.test.ts.
 */

const PASSWORD = 'the-password-of-the-servers';
const file = (text: string) => ({
  Timestamp: '2024-10-30T17:20:16.5Z',
  Content: Buffer.from(text).toString('base64'),
});

let etcd: EtcdCluster;
let saved: ScratchDir;
let zip: string;
let tools: string;
beforeAll(async () => {
  [etcd, saved, tools] = await Promise.all([startEtcd(), scratchDir('saved-'), toolsFlag()]);
  await etcd.put([
    k3sBootstrap({ ServerCA: file('CA of then'), PasswdFile: file('passwd of then') }, PASSWORD),
  ]);
  zip = await snapshotOf(etcd, saved.path, 'zip', ['--snapshot-compress']);
});
afterAll(async () => {
  for (const part of [etcd, saved]) await part?.[Symbol.asyncDispose]();
});

interface Kind {
  readonly what: string;
  /** 1: it dies before every name, 2: before every second one. */
  readonly stride: number;
  readonly flags: (root: string) => readonly string[];
  /** Fills a folder as it was before. */
  readonly make: (root: string) => Promise<void>;
}

const old = async (dataDir: string) => {
  await mkdir(join(dataDir, 'member/snap'), { recursive: true });
  await writeFile(join(dataDir, 'member/snap/old'), 'old data');
  await writeFile(join(dataDir, 'mine'), 'too', { mode: 0o640 });
  await chown(join(dataDir, 'mine'), 65_534, 65_534);
};

const kinds: readonly Kind[] = [
  {
    what: 'K3s',
    stride: 1,
    flags: (root) => ['--distribution=k3s', `--data-dir=${root}`, '--node-name=server-1'],
    async make(root) {
      const server = join(root, 'server');
      await old(join(server, 'db/etcd'));
      for (const folder of ['tls/etcd', 'cred']) await mkdir(join(server, folder), { recursive: true });
      await writeFile(join(server, 'token'), PASSWORD);
      await writeFile(join(server, 'tls/server-ca.crt'), 'CA of today', { mode: 0o644 });
      await writeFile(join(server, 'tls/etcd/own.key'), 'own', { mode: 0o640 });
      await chown(join(server, 'tls/etcd/own.key'), 65_534, 65_534);
      await symlink('server-ca.crt', join(server, 'tls/link.crt'));
      await chmod(join(server, 'tls/etcd'), 0o2750);
      await writeFile(join(server, 'cred/passwd'), 'passwd of today');
    },
  },
  {
    what: 'an etcd whose data folder is a mount point',
    stride: 2,
    flags: (root) => ['--distribution=custom', `--data-dir=${root}`],
    make: old,
  },
  {
    what: 'an etcd that has no data yet',
    stride: 3,
    flags: (root) => ['--distribution=custom', `--data-dir=${join(root, 'etcd')}`],
    make: async () => undefined,
  },
];

/** Names that tell when, and what is made with numbers of its own, look alike. */
const alike = (lines: readonly string[]) =>
  lines
    .filter((line) => !/^\S*(?:member|-undone-\d+)\//.test(line) || line.includes('old'))
    .map((line) => line.replaceAll(/-\d{10}\b/g, '-<time>'))
    .map((line) => (/restore\.json|etcd\/name|member /.test(line) ? (line.split(' ')[0] ?? '') : line));
/** Without what a rollback leaves on purpose, and with it. */
const kept = (lines: readonly string[]) => lines.filter((line) => !/-undone-[\d<]/.test(line));

it('a snapshot that was unpacked is on the disk before it has its name', async () => {
  await using scratch = await scratchDir();
  const file = await findSnapshotFile(zip);
  const work = join(scratch.path, 'work');
  const settled = await settledBy(scratch.path, () => unpackInto(file, work, new AbortController().signal));
  expect(settled).toEqual(['', 'work', 'work/snapshot.part']);
});

/** Many restores each, and other tests beside them. */
const PATIENCE = { timeout: 400_000 };

describe.each(kinds)('on $what', PATIENCE, ({ flags, make, stride }) => {
  // What is not heard of again keeps its lock while this process lives; that of a process goes with it.
  const lock = async () => ({ [Symbol.asyncDispose]: async () => undefined });
  const run = (root: string) => restoreHere([...flags(root), tools, zip], { lock });
  const undo = (root: string) => restoreHere([...flags(root), '--rollback'], { lock });
  /** A disk in memory, as it was before. */
  const fresh = async () => {
    const disk = await smallDisk(2 ** 30);
    await make(disk.path);
    return disk;
  };

  it('a restore that dies anywhere goes on to the same end, or is undone without a trace', async () => {
    await using whole = await fresh();
    const before = await treeOf(whole.path);
    await run(whole.path);
    const done = alike(await treeOf(whole.path));
    let deaths = 0;
    for (; ; deaths += stride) {
      await using one = await fresh();
      if ((await dyingBeforeName(deaths, () => run(one.path))) !== 'died') break;
      // Before there is a journal nothing was moved, and only a zip was unpacked.
      if (deaths >= 2) {
        await undo(one.path);
        expect(kept(await treeOf(one.path)), `after death ${deaths}`).toEqual(before);
        await dyingBeforeName(deaths, () => run(one.path));
      }
      await run(one.path);
      expect(kept(alike(await treeOf(one.path))), `after death ${deaths}`).toEqual(done);
    }
    expect(deaths).toBeGreaterThan(10);
  });

  it('a rollback that dies anywhere is finished by the next, and nothing else begins meanwhile', async () => {
    await using whole = await fresh();
    const before = await treeOf(whole.path);
    let deaths = 0;
    for (; ; deaths += 1) {
      await using one = await fresh();
      await run(one.path);
      if ((await dyingBeforeName(deaths, () => undo(one.path))) !== 'died') break;
      if (deaths > 0)
        await expect(run(one.path), `after death ${deaths}`).rejects.toThrow(/rollback .* is not finished/);
      await undo(one.path);
      expect(kept(await treeOf(one.path)), `after death ${deaths}`).toEqual(before);
    }
    expect(deaths).toBeGreaterThan(2);
  });
});
