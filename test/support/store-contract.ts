import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SnapshotError } from '../../src/errors.ts';
import type { SnapshotBytes, SnapshotStore, SnapshotUpload } from '../../src/snapshot/ports.ts';

/** A store with nothing in it; dispose of it to end what it stands on. */
export interface StoreUnderTest extends AsyncDisposable {
  readonly store: SnapshotStore;
}

const never = new AbortController().signal;
const nodeName = 'node-1';

/** Bytes that are all there and proven. */
export function bytesOf(buffer: Uint8Array): SnapshotBytes {
  return {
    expectedSize: buffer.length,
    proven: Promise.resolve(buffer.length),
    async read(into, position, signal) {
      signal.throwIfAborted();
      const part = buffer.subarray(position, position + into.length);
      into.set(part);
      return part.length;
    },
  };
}

/** Bytes that grow by a step with each look at them, as a file does that is still written, and are proven at the end. */
function growingBytes(buffer: Uint8Array, step: number): SnapshotBytes {
  const proof = Promise.withResolvers<number>();
  let grown = 0;
  return {
    ...bytesOf(buffer),
    // As with a compressed snapshot: an upper bound.
    expectedSize: buffer.length + 1000,
    proven: proof.promise,
    async read(into, position, signal) {
      while (grown < Math.min(position + into.length, buffer.length)) {
        signal.throwIfAborted();
        await new Promise((resolve) => setImmediate(resolve));
        grown += step;
        if (grown >= buffer.length) proof.resolve(buffer.length);
      }
      return bytesOf(buffer).read(into, position, signal);
    },
  };
}

/** Bytes that come to an end without proof: all can be read, and then it turns out that they are worth nothing. */
function brokenBytes(buffer: Uint8Array, reason: Error): SnapshotBytes {
  const proven = Promise.reject(reason);
  void Promise.allSettled([proven]);
  return { ...bytesOf(buffer), proven };
}

/** As many bytes as a snapshot may have: whole pages and a hash. */
export function snapshotBytes(pages: number): Buffer {
  return randomBytes(pages * 512 + 32);
}

export function uploadOf(
  name: string,
  bytes: SnapshotBytes,
  more: Partial<SnapshotUpload> = {},
): SnapshotUpload {
  return {
    name,
    nodeName,
    createdAt: new Date('2024-10-30T17:20:16Z'),
    compressed: name.endsWith('.zip'),
    bytes,
    facts: Promise.resolve({}),
    ...more,
  };
}

export async function collect(parts: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const part of parts) chunks.push(part);
  return Buffer.concat(chunks);
}

/** The contract of `SnapshotStore`, for each place that keeps snapshots. @param makeStore of node `node-1` */
export function describeStore(what: string, makeStore: () => Promise<StoreUnderTest>): void {
  describe(`${what} keeps the contract of a store`, () => {
    const name = `on-demand-${nodeName}-1730308816`;
    let place: StoreUnderTest;
    let store: SnapshotStore;
    beforeEach(async () => {
      place = await makeStore();
      store = place.store;
    });
    afterEach(() => place[Symbol.asyncDispose]());

    it('begins empty', async () => {
      expect(await store.list(never)).toEqual([]);
      expect(await store.stat(name, never)).toBeUndefined();
      expect(await store.sweep(never)).toEqual([]);
    });

    it.each([
      ['a small one', name, 3],
      ['one of several parts', name, 40_000],
      ['a compressed one', `${name}.zip`, 100],
      ['one with capitals and underscores', `My_Snap-${nodeName}-1730308816`, 7],
    ])('gives back what it took: %s', async (_what, snapshotName, pages) => {
      const bytes = snapshotBytes(pages);
      const seen: number[] = [];
      const upload = uploadOf(snapshotName, bytesOf(bytes), { onProgress: (count) => seen.push(count) });
      const { snapshot, warnings } = await store.put(upload, never);
      expect(warnings).toEqual([]);
      expect(snapshot).toMatchObject({
        name: snapshotName,
        nodeName,
        createdAt: upload.createdAt,
        size: bytes.length,
        compressed: upload.compressed,
        location: { store: store.kind },
      });
      expect(seen.at(-1)).toBe(bytes.length);
      expect(await store.stat(snapshotName, never)).toEqual(snapshot);
      expect(await store.list(never)).toEqual([snapshot]);
      expect((await collect(await store.open(snapshotName, never))).equals(bytes)).toBe(true);
    });

    it('follows bytes that are still growing, to a size that was only guessed', async () => {
      const bytes = snapshotBytes(5000);
      const { snapshot } = await store.put(uploadOf(name, growingBytes(bytes, 100_000)), never);
      expect(snapshot.size).toBe(bytes.length);
      expect((await collect(await store.open(name, never))).equals(bytes)).toBe(true);
    });

    it('gives back a part of it', async () => {
      const bytes = snapshotBytes(100);
      await store.put(uploadOf(name, bytesOf(bytes)), never);
      const part = async (start: number, end: number) =>
        collect(await store.open(name, never, { start, end }));
      expect((await part(0, 10)).equals(bytes.subarray(0, 10))).toBe(true);
      expect((await part(1000, 1001)).equals(bytes.subarray(1000, 1001))).toBe(true);
      expect((await part(bytes.length - 32, bytes.length)).equals(bytes.subarray(-32))).toBe(true);
    });

    it('keeps the metadata beside it, and forgets it with it', async () => {
      const metadata = { 'upgrade-to': 'v1.34', note: 'größer – ☸' };
      const upload = uploadOf(name, bytesOf(snapshotBytes(3)), { facts: Promise.resolve({ metadata }) });
      expect((await store.put(upload, never)).snapshot).toMatchObject({ metadata });
      expect(await store.stat(name, never)).toMatchObject({ metadata });
      expect(await store.list(never)).toMatchObject([{ metadata }]);
      await store.remove(name, never);
      await store.put(uploadOf(name, bytesOf(snapshotBytes(3))), never);
      expect((await store.stat(name, never))?.metadata).toBeUndefined();
    });

    it('removes one and says whether there was one', async () => {
      const other = `on-demand-${nodeName}-1730308817`;
      await store.put(uploadOf(name, bytesOf(snapshotBytes(3))), never);
      await store.put(uploadOf(other, bytesOf(snapshotBytes(3))), never);
      expect(await store.remove(name, never)).toBe(true);
      expect(await store.remove(name, never)).toBe(false);
      expect((await store.list(never)).map((snapshot) => snapshot.name)).toEqual([other]);
      await expect(store.open(name, never)).rejects.toMatchObject({ code: 'not-found' });
    });

    it.each(['../secret', 'a/b', '..', '', '.hidden', 'nul\0', 'x'.repeat(300)])(
      'refuses the name %j',
      async (bad) => {
        await expect(store.stat(bad, never)).rejects.toMatchObject({ code: 'usage' });
        await expect(store.open(bad, never)).rejects.toMatchObject({ code: 'usage' });
        await expect(store.remove(bad, never)).rejects.toMatchObject({ code: 'usage' });
      },
    );

    it.each([3, 40_000])(
      'keeps nothing of bytes that turn out to be worth nothing (%i pages)',
      async (pages) => {
        const reason = new SnapshotError('corrupt', 'The snapshot stream from etcd is damaged');
        const upload = uploadOf(name, brokenBytes(snapshotBytes(pages), reason));
        await expect(store.put(upload, never)).rejects.toMatchObject({ code: 'corrupt' });
        expect(await store.list(never)).toEqual([]);
        expect(await store.stat(name, never)).toBeUndefined();
      },
    );

    it('keeps nothing of a put that is aborted', async () => {
      const abort = new AbortController();
      const bytes = bytesOf(snapshotBytes(40_000));
      const upload = uploadOf(name, {
        ...bytes,
        async read(into, position, signal) {
          if (position > 0) abort.abort();
          return bytes.read(into, position, signal);
        },
      });
      await expect(store.put(upload, abort.signal)).rejects.toThrow();
      expect(await store.list(never)).toEqual([]);
      expect(await store.sweep(never)).toEqual([]);
    });

    it('does nothing for a signal that has fired', async () => {
      await store.put(uploadOf(name, bytesOf(snapshotBytes(3))), never);
      const fired = AbortSignal.abort();
      await expect(store.list(fired)).rejects.toMatchObject({ code: 'aborted' });
      await expect(store.stat(name, fired)).rejects.toMatchObject({ code: 'aborted' });
      await expect(store.remove(name, fired)).rejects.toMatchObject({ code: 'aborted' });
      expect(await store.list(never)).toHaveLength(1);
    });
  });
}
