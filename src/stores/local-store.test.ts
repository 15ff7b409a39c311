import { mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { scratchDir } from '../../test/support/scratch.ts';
import { smallDisk } from '../../test/support/small-disk.ts';
import {
  bytesOf,
  collect,
  describeStore,
  snapshotBytes,
  uploadOf,
} from '../../test/support/store-contract.ts';
import { SnapshotError } from '../errors.ts';
import type { NewSnapshot, SnapshotFolder } from '../snapshot/ports.ts';
import { createLocalStore } from './local-store.ts';

const never = new AbortController().signal;
const nodeName = 'node-1';
const name = `on-demand-${nodeName}-1730308816`;
const mebibyte = 1024 * 1024;

function storeIn(dir: string, isDefaultDir = false): SnapshotFolder {
  return createLocalStore({ dir, isDefaultDir, nodeName });
}

function newSnapshot(change: Partial<NewSnapshot> = {}): NewSnapshot {
  const createdAt = new Date('2024-10-30T17:20:16Z');
  return { name, nodeName, createdAt, compressed: false, expectedSize: 1056, ...change };
}

/** A folder `snapshots` in a folder of its own, since metadata lies beside it. */
async function emptyFolder() {
  const scratch = await scratchDir();
  const dir = join(scratch.path, 'snapshots');
  await mkdir(dir, { mode: 0o700 });
  const store = storeIn(dir);
  return { dir, scratch, store, [Symbol.asyncDispose]: () => scratch[Symbol.asyncDispose]() };
}

async function modeOf(path: string): Promise<string> {
  return ((await stat(path)).mode & 0o777).toString(8);
}

describeStore('the local store', emptyFolder);

describe('a draft', () => {
  it('has its final name only after commit, for its owner alone, with its metadata beside the folder', async () => {
    await using place = await emptyFolder();
    const bytes = snapshotBytes(2);
    await using draft = await place.store.create(newSnapshot());
    await draft.write([bytes.subarray(0, 100), Buffer.alloc(0), bytes.subarray(100)]);
    draft.prove();
    const [temporary] = await readdir(place.dir);
    expect(temporary).toMatch(/^\.on-demand-node-1-1730308816\.[0-9a-f]{16}\.part$/);
    expect(await modeOf(join(place.dir, temporary ?? ''))).toBe('600');
    expect(await place.store.list(never)).toEqual([]);
    const { snapshot } = await draft.commit({ metadata: { a: 'b' }, tokenHash: '2bb80d537b1d' });
    expect(snapshot).toMatchObject({ size: 1056, tokenHash: '2bb80d537b1d', metadata: { a: 'b' } });
    expect(await readdir(place.dir)).toEqual([name]);
    const sidecar = join(place.scratch.path, '.metadata', name);
    expect(await readFile(sidecar, 'utf8')).toBe('{"a":"b"}');
    expect(await modeOf(sidecar)).toBe('600');
    expect(await modeOf(join(place.scratch.path, '.metadata'))).toBe('700');
  });

  it('is followed while it grows and after it is done, even when the file is deleted meanwhile', async () => {
    await using place = await emptyFolder();
    const bytes = snapshotBytes(8);
    await using draft = await place.store.create(newSnapshot({ expectedSize: bytes.length }));
    const first = Buffer.alloc(2000);
    const reading = draft.read(first, 0, never);
    await draft.write([bytes.subarray(0, 1500)]);
    await draft.write([bytes.subarray(1500)]);
    expect(await reading).toBe(2000);
    expect(first.equals(bytes.subarray(0, 2000))).toBe(true);
    const rest = Buffer.alloc(bytes.length);
    const toTheEnd = draft.read(rest, 2000, never);
    draft.prove();
    expect(await toTheEnd).toBe(bytes.length - 2000);
    expect(await draft.proven).toBe(bytes.length);
    await draft.commit({});
    await place.store.remove(name, never);
    expect(await draft.read(rest, 0, never)).toBe(bytes.length);
    expect(rest.equals(bytes)).toBe(true);
    expect(await draft.read(rest, bytes.length, never)).toBe(0);
  });

  it('that is discarded tells its followers why, and leaves nothing', async () => {
    await using place = await emptyFolder();
    await using draft = await place.store.create(newSnapshot());
    await draft.write([Buffer.alloc(10)]);
    const reason = new SnapshotError('corrupt', 'damaged');
    const reading = expect(draft.read(Buffer.alloc(100), 0, never)).rejects.toBe(reason);
    await draft.discard(reason);
    await draft.discard(new Error('again'));
    await reading;
    await expect(draft.proven).rejects.toBe(reason);
    expect(await readdir(place.dir)).toEqual([]);
  });

  it('lets a follower go that is aborted', async () => {
    await using place = await emptyFolder();
    await using draft = await place.store.create(newSnapshot());
    const abort = new AbortController();
    const reading = expect(draft.read(Buffer.alloc(100), 0, abort.signal)).rejects.toMatchObject({
      code: 'aborted',
    });
    abort.abort();
    await reading;
  });

  it('that is only disposed of leaves nothing', async () => {
    await using place = await emptyFolder();
    {
      await using draft = await place.store.create(newSnapshot());
      await draft.write([Buffer.alloc(10)]);
    }
    expect(await readdir(place.dir)).toEqual([]);
  });

  it('never takes the name of a snapshot that is there', async () => {
    await using place = await emptyFolder();
    const old = snapshotBytes(2);
    await place.store.put(uploadOf(name, bytesOf(old)), never);
    await expect(place.store.put(uploadOf(name, bytesOf(snapshotBytes(3))), never)).rejects.toMatchObject({
      code: 'exists',
    });
    expect((await collect(await place.store.open(name, never))).equals(old)).toBe(true);
    expect(await readdir(place.dir)).toEqual([name]);
  });

  it('stands without metadata that cannot be kept', async () => {
    await using place = await emptyFolder();
    await writeFile(join(place.scratch.path, '.metadata'), 'in the way');
    const facts = Promise.resolve({ metadata: { a: 'b' } });
    const upload = uploadOf(name, bytesOf(snapshotBytes(2)), { facts });
    const { warnings } = await place.store.put(upload, never);
    expect(warnings.map((warning) => warning.message)).toEqual([`Cannot keep the metadata of ${name}`]);
    expect(await place.store.list(never)).toHaveLength(1);
  });
});

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
      'on-demand-node-1-1730308816.zip',
    ]);
    const byHand = found.find((one) => one.name === 'copied-by-hand');
    expect(byHand?.createdAt.getMilliseconds()).toBe(0);
    expect(await place.store.remove('link-node-1-1730308816', never)).toBe(false);
    expect(await readdir(place.dir)).toContain('link-node-1-1730308816');
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

  it('removes half-written metadata too', async () => {
    await using place = await emptyFolder();
    const beside = join(place.scratch.path, '.metadata');
    await mkdir(beside);
    await using draft = await place.store.create(newSnapshot());
    void draft;
    const [left] = await readdir(place.dir);
    await writeFile(join(beside, left ?? ''), '{"a":');
    await writeFile(join(beside, name), '{}');
    await place.store.sweep(never);
    expect(await readdir(beside)).toEqual([name]);
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
