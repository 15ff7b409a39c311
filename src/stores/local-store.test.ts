import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { scratchDir } from '../../test/support/scratch.ts';
import { bareDisk, smallDisk } from '../../test/support/small-disk.ts';
import { emptyFolder, modeOf, name, newSnapshot, storeIn } from '../../test/support/snapshot-folder.ts';
import { bytesOf, describeStore, snapshotBytes, uploadOf } from '../../test/support/store-contract.ts';
import type { NewSnapshot, SnapshotFolder } from '../snapshot/ports.ts';
import { temporaryPath } from './atomic-write.ts';
import { createLocalStore } from './local-store.ts';

const never = new AbortController().signal;
const mebibyte = 1024 * 1024;

describeStore('the local store', emptyFolder);

describe('listing', () => {
  it('takes what is a snapshot by size or by the time in its name, and nothing that is hidden, half-made or no file', async () => {
    await using place = await emptyFolder();
    const file = (file: string, bytes: number) => writeFile(join(place.dir, file), Buffer.alloc(bytes));
    await file('copied-by-hand', 1056);
    await file('foreign.zip', 77);
    await file('on-demand-node-1-1730308816.zip', 77);
    await file('etcd-snapshot-node-1-1730308817', 5);
    await file('notes.txt', 5);
    await file('empty-node-1-1730308816', 0);
    await file('download.part', 1056);
    await file('.hidden-node-1-1730308816', 1056);
    await mkdir(join(place.dir, 'folder-node-1-1730308816'));
    await symlink(join(place.dir, 'copied-by-hand'), join(place.dir, 'link-node-1-1730308816'));
    const found = await place.store.list(never);
    expect(found.map((one) => one.name).toSorted()).toEqual([
      'copied-by-hand',
      'etcd-snapshot-node-1-1730308817',
      'foreign.zip',
      'on-demand-node-1-1730308816.zip',
    ]);
    const byHand = found.find((one) => one.name === 'copied-by-hand');
    expect(byHand?.createdAt.getMilliseconds()).toBe(0);
    for (const other of ['link-node-1-1730308816', 'folder-node-1-1730308816', 'notes.txt']) {
      await expect(place.store.remove(other, never)).rejects.toMatchObject({ code: 'foreign' });
      expect(await readdir(place.dir)).toContain(other);
    }
  });

  it('stands without metadata that is damaged', async () => {
    await using place = await emptyFolder();
    await place.store.put(uploadOf(name, bytesOf(snapshotBytes(2))), never);
    await mkdir(join(place.scratch.path, '.metadata'));
    await writeFile(join(place.scratch.path, '.metadata', name), '{"a":');
    expect(await place.store.stat(name, never)).not.toHaveProperty('metadata');
  });
});

describe('sweeping', () => {
  it('removes temporary files of this node, and no other', async () => {
    await using place = await emptyFolder();
    // What a dead process leaves: made by a store, and never ended.
    const temporary = async (store: SnapshotFolder, snapshot: NewSnapshot) => {
      const before = await readdir(place.dir);
      await using draft = await store.create(snapshot);
      await draft.write([Buffer.alloc(10)]);
      return (await readdir(place.dir)).filter((file) => !before.includes(file));
    };
    // The name of the one node ends like that of the other.
    const other = createLocalStore({ dir: place.dir, isDefaultDir: false, nodeName: 'my-node-1' });
    const ofOther = newSnapshot({ name: 'on-demand-my-node-1-1730308816', nodeName: 'my-node-1' });
    const ours = [
      ...(await temporary(place.store, newSnapshot())),
      ...(await temporary(place.store, newSnapshot({ name: `${name}.zip`, compressed: true }))),
    ];
    const foreign = [...(await temporary(other, ofOther)), `${name}.part`, '.journal.upload', '.x.part.txt'];
    expect([...ours, ...foreign]).toHaveLength(6);
    for (const file of [...ours, ...foreign]) await writeFile(join(place.dir, file), 'x');
    expect((await place.store.sweep(never)).toSorted()).toEqual(ours.toSorted());
    expect((await readdir(place.dir)).toSorted()).toEqual(foreign.toSorted());
  });

  it('removes half-written metadata too, but not that of a save into a sibling folder', async () => {
    await using place = await emptyFolder();
    const beside = join(place.scratch.path, '.metadata');
    await mkdir(beside);
    const halfWritten = (owner: string) => temporaryPath(join(beside, name), owner);
    const ofSibling = halfWritten('node-1/others');
    for (const file of [halfWritten('node-1/snapshots'), ofSibling]) await writeFile(file, '{"a":');
    await writeFile(join(beside, name), '{}');
    await place.store.sweep(never);
    expect((await readdir(beside)).toSorted()).toEqual([basename(ofSibling), name].toSorted());
  });
});

/** Begun one by one: a promise that fails while another one is awaited counts as unhandled. */
function waysToUse(store: SnapshotFolder): (() => Promise<unknown>)[] {
  return [() => store.lock(never), () => store.create(newSnapshot()), () => store.list(never)];
}

describe('the folder', () => {
  it('is made, for its owner alone, when it is the default', async () => {
    await using scratch = await scratchDir();
    const dir = join(scratch.path, 'db', 'snapshots');
    const store = storeIn(dir, true);
    expect(await store.list(never)).toEqual([]);
    expect(await store.sweep(never)).toEqual([]);
    await using _lock = await store.lock(never);
    expect(await modeOf(dir)).toBe('700');
  });

  it('that is named and missing is an error that names --dir', async () => {
    await using scratch = await scratchDir();
    const store = storeIn(join(scratch.path, 'missing'));
    for (const use of waysToUse(store)) {
      await expect(use()).rejects.toMatchObject({
        code: 'not-found',
        hint: expect.stringContaining('--dir'),
      });
    }
  });

  it.each([true, false])('that is a file is an error (default folder: %s)', async (isDefaultDir) => {
    await using scratch = await scratchDir();
    const path = join(scratch.path, 'file');
    await writeFile(path, '');
    const store = storeIn(path, isDefaultDir);
    for (const use of waysToUse(store)) {
      await expect(use()).rejects.toMatchObject({ message: `${path} is not a folder` });
    }
  });

  it('on a file system without sockets is an error that says so', async () => {
    await using disk = await bareDisk();
    await expect(storeIn(disk.path).lock(never)).rejects.toMatchObject({
      code: 'io',
      why: expect.stringContaining('has no Unix sockets'),
      hint: expect.stringContaining('--dir'),
    });
  });

  it('on a read-only mount is an error that says so', async () => {
    await using disk = await smallDisk(mebibyte, { readOnly: true });
    const store = storeIn(disk.path);
    await expect(store.lock(never)).rejects.toMatchObject({ code: 'read-only' });
    await expect(store.create(newSnapshot())).rejects.toMatchObject({ code: 'read-only' });
    expect(await store.list(never)).toEqual([]);
  });

  it('without room for a plain snapshot refuses it at once, with both figures', async () => {
    await using disk = await smallDisk(mebibyte);
    const store = storeIn(disk.path);
    await expect(store.create(newSnapshot({ expectedSize: 2 * mebibyte }))).rejects.toMatchObject({
      code: 'disk-full',
      why: expect.stringMatching(/^2097152 bytes are needed, .* \d+ bytes are free/),
    });
  });

  it('that is full in mid-write fails with both figures, and leaves nothing', async () => {
    await using disk = await smallDisk(mebibyte);
    const store = storeIn(disk.path);
    await using draft = await store.create(newSnapshot({ expectedSize: 2 * mebibyte, compressed: true }));
    const failure = await draft.write([Buffer.alloc(2 * mebibyte, 1)]).catch((error: unknown) => error);
    expect(failure).toMatchObject({
      code: 'disk-full',
      why: expect.stringMatching(/^2097152 bytes are needed, .* \d+ bytes are free/),
    });
    await draft.discard(new Error('full'));
    expect(await readdir(disk.path)).toEqual([]);
  });
});
