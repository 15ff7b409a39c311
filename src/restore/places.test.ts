import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { scratchDir } from '../../test/support/scratch.ts';
import { smallDisk } from '../../test/support/small-disk.ts';
import { spaceFor, sweepLooks } from './places.ts';
import { LOG_BYTES } from './verify-snapshot.ts';

const MiB = 1024 * 1024;
const file = { plainSize: 8 * MiB };

function placesIn(folder: string) {
  const at = (name: string) => join(folder, name);
  return {
    dataDir: at('etcd'),
    workDir: at('etcd-restore-1'),
    async put(path: string, bytes: number) {
      await mkdir(join(at(path), '..'), { recursive: true });
      await writeFile(at(path), Buffer.alloc(bytes, 1));
    },
  };
}

it('counts what is still to be written: a zip is unpacked when it is asked', async () => {
  await using scratch = await scratchDir();
  const p = placesIn(scratch.path);
  expect((await spaceFor(p, file)).needed).toBe(8 * MiB + LOG_BYTES);
  await p.put(`etcd-restore-1/snapshot-${'0'.repeat(64)}`, 8 * MiB);
  expect((await spaceFor(p, file)).needed).toBe(8 * MiB + LOG_BYTES);
});

it('counts as free what a restore that was cut off has left of the new data', async () => {
  await using disk = await smallDisk(100_000_000);
  const p = placesIn(disk.path);
  await mkdir(p.workDir);
  const before = await spaceFor(p, file);
  await p.put('etcd-restore-1/data/member/snap/db', 64 * MiB);
  const after = await spaceFor(p, file);
  expect(after).toEqual(before);
});

it('removes what looks that were killed have unpacked, and nothing else', async () => {
  await using scratch = await scratchDir();
  const p = placesIn(scratch.path);
  const sha256 = 'ab'.repeat(32);
  await p.put(`etcd-restore-5/snapshot-${sha256}`, 1);
  await p.put('etcd-restore-6/snapshot.part', 1);
  await p.put(`etcd-restore-1/snapshot-${sha256}`, 1);
  await p.put('etcd-restore-7/data/member/snap/db', 1);
  await p.put(`other-restore-8/snapshot-${sha256}`, 1);
  await p.put(`etcd-restore-mine/snapshot-${sha256}`, 1);
  await p.put('etcd-restore-9', 1);
  await sweepLooks(p.dataDir, p.workDir);
  expect((await readdir(scratch.path)).sort()).toEqual(
    ['etcd-restore-1', 'etcd-restore-7', 'etcd-restore-9', 'etcd-restore-mine', 'other-restore-8'].sort(),
  );
});
