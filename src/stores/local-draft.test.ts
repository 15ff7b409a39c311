import { open, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { diskDiary } from '../../test/support/disk-diary.ts';
import { bareDisk } from '../../test/support/small-disk.ts';
import { emptyFolder, modeOf, name, newSnapshot } from '../../test/support/snapshot-folder.ts';
import { bytesOf, collect, snapshotBytes, uploadOf } from '../../test/support/store-contract.ts';
import { SnapshotError } from '../errors.ts';
import { diskCalls } from './atomic-write.ts';
import { openDraft } from './local-draft.ts';

const never = new AbortController().signal;
const noSidecar = async () => undefined;

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
    const { snapshot } = await draft.commit({ metadata: { a: 'b' }, tokenHash: '2bb80d537b1d' }, never);
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
    await draft.commit({}, never);
    await place.store.remove(name, never);
    expect(await draft.read(rest, 0, never)).toBe(bytes.length);
    expect(rest.equals(bytes)).toBe(true);
    expect(await draft.read(rest, bytes.length, never)).toBe(0);
  });

  it.each([
    ['in the middle of what is read', 0, 4096],
    ['beside what is read, in the same MiB', 1000, 96],
  ])('gives no follower bytes that are not those that were written: %s', async (_what, position, length) => {
    await using place = await emptyFolder();
    await using draft = await place.store.create(newSnapshot({ expectedSize: 4128 }));
    await draft.write([snapshotBytes(8)]);
    draft.prove();
    const [temporary] = await readdir(place.dir);
    const file = await open(join(place.dir, temporary ?? ''), 'r+');
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, 2000);
    await file.write(Buffer.from([buffer.readUInt8(0) ^ 1]), 0, 1, 2000);
    await file.close();
    await expect(draft.read(Buffer.alloc(length), position, never)).rejects.toMatchObject({
      code: 'corrupt',
      why: expect.stringContaining('others than were written'),
    });
    await expect(draft.commit({}, never)).rejects.toMatchObject({ code: 'corrupt' });
  });

  it('gives nothing unproven to a follower that nobody spoke of', async () => {
    await using place = await emptyFolder();
    await using draft = await place.store.create(newSnapshot({ isFollowed: false }));
    await draft.write([snapshotBytes(2)]);
    await expect(draft.read(Buffer.alloc(512), 0, never)).rejects.toThrow();
  });

  it('is synced before it has its name, and its name before it counts', async () => {
    await using place = await emptyFolder();
    const { calls, diary } = diskDiary();
    const path = join(place.dir, name);
    await using draft = await openDraft(path, newSnapshot(), noSidecar, calls);
    diary.length = 0;
    await draft.write([snapshotBytes(2)]);
    draft.prove();
    await draft.commit({}, never);
    const temporary = `.${name}.*.part`;
    expect(diary).toEqual([
      `write ${temporary}`,
      `sync ${temporary}`,
      `link ${temporary} ${name}`,
      `unlink ${temporary}`,
      'sync snapshots/',
    ]);
  });

  it('goes to its disk while it is written, not only at its end', async () => {
    await using place = await emptyFolder();
    const synced = Promise.withResolvers<void>();
    const open: typeof diskCalls.open = async (...args) => {
      const file = await diskCalls.open(...args);
      return Object.assign(file, { datasync: async () => synced.resolve() });
    };
    await using draft = await openDraft(join(place.dir, name), newSnapshot(), noSidecar, {
      ...diskCalls,
      open,
    });
    const mebibyte = Buffer.alloc(1024 * 1024);
    for (let written = 0; written < 64; written += 1) await draft.write([mebibyte]);
    await synced.promise;
  });

  it('never gets its name when the signal fires in a sync that hangs, and nobody waits for that disk', async () => {
    await using place = await emptyFolder();
    const abort = new AbortController();
    const hangs = new Promise<never>(() => undefined);
    let close: (() => Promise<void>) | undefined;
    const open: typeof diskCalls.open = async (...args) => {
      const file = await diskCalls.open(...args);
      close = file.close.bind(file);
      const sync = () => {
        abort.abort();
        return hangs;
      };
      return Object.assign(file, { sync, close: () => hangs });
    };
    {
      const calls = { ...diskCalls, open };
      await using draft = await openDraft(join(place.dir, name), newSnapshot(), noSidecar, calls);
      await draft.write([snapshotBytes(2)]);
      draft.prove();
      await expect(draft.commit({}, abort.signal)).rejects.toMatchObject({ code: 'aborted' });
    }
    expect(await readdir(place.dir)).toEqual([]);
    await close?.();
  });

  it('never gets its name when somebody has cut the file', async () => {
    await using place = await emptyFolder();
    await using draft = await place.store.create(newSnapshot());
    await draft.write([snapshotBytes(2)]);
    draft.prove();
    const [temporary] = await readdir(place.dir);
    await truncate(join(place.dir, temporary ?? ''), 1000);
    await expect(draft.commit({}, never)).rejects.toMatchObject({
      code: 'corrupt',
      why: 'it has 1000 bytes, and 1056 were written',
    });
    await draft.discard(new Error('corrupt'));
    expect(await readdir(place.dir)).toEqual([]);
  });

  it('may be followed to its end when it is proven and cannot have its name', async () => {
    await using place = await emptyFolder();
    const bytes = snapshotBytes(2);
    const noRoom = Object.assign(new Error('no room'), { code: 'ENOSPC' });
    const syncFolder = () => Promise.reject(noRoom);
    const { calls } = diskDiary({ syncFolder });
    await using draft = await openDraft(join(place.dir, name), newSnapshot(), noSidecar, calls);
    await draft.write([bytes]);
    draft.prove();
    const failure: unknown = await draft.commit({}, never).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'disk-full' });
    await draft.discard(new Error('disk full'));
    expect(await readdir(place.dir)).toEqual([]);
    expect(await draft.proven).toBe(bytes.length);
    const read = Buffer.alloc(bytes.length + 1);
    expect(await draft.read(read, 0, never)).toBe(bytes.length);
    expect(read.subarray(0, -1).equals(bytes)).toBe(true);
    await expect(draft.commit({}, never)).rejects.toThrow('discarded');
  });

  it('is refused before a byte is written when its name is taken', async () => {
    await using place = await emptyFolder();
    await place.store.put(uploadOf(name, bytesOf(snapshotBytes(2))), never);
    await expect(place.store.create(newSnapshot())).rejects.toMatchObject({ code: 'exists' });
    expect(await readdir(place.dir)).toEqual([name]);
  });

  it('is refused before a byte is written when the file system has no hard links', async () => {
    await using disk = await bareDisk();
    const before = await readdir(disk.path);
    const draft = openDraft(join(disk.path, name), newSnapshot(), noSidecar);
    await expect(draft).rejects.toMatchObject({
      code: 'io',
      why: expect.stringContaining('has no hard links'),
      hint: expect.stringContaining('--dir'),
    });
    expect(await readdir(disk.path)).toEqual(before);
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

  it('never takes a name that was given while it was written', async () => {
    await using place = await emptyFolder();
    await using draft = await place.store.create(newSnapshot());
    await draft.write([snapshotBytes(2)]);
    draft.prove();
    await writeFile(join(place.dir, name), 'other');
    await expect(draft.commit({}, never)).rejects.toMatchObject({ code: 'exists' });
    expect(await readFile(join(place.dir, name), 'utf8')).toBe('other');
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
