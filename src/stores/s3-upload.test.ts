import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { GrowingBytes, MIB, someBytes } from '../../test/support/growing-bytes.ts';
import { startScriptedS3 } from '../../test/support/scripted-s3.ts';
import { uploadOf } from '../../test/support/store-contract.ts';
import { createS3Store } from './s3-store.ts';

const NAME = 'on-demand-node-1-1730308816';
const never = new AbortController().signal;
const HOUR = 3_600_000;
/** As `until` of the test bed, without a timer. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}

const options = { program: 'k3s', nodeName: 'node-1', partSize: MIB } as const;

describe('the time of an upload', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('does not run while it waits for bytes: for the first, between two parts, and for the proof', async () => {
    await using s3 = await startScriptedS3();
    const store = createS3Store(s3.settings, options);
    const bytes = new GrowingBytes(someBytes(2 * MIB + 32));
    const read = vi.spyOn(bytes, 'read');
    const taken: number[] = [];
    const done = store.put(uploadOf(NAME, bytes, { onProgress: (count) => taken.push(count) }), never);
    await until(() => read.mock.calls.length === 1);
    await vi.advanceTimersByTimeAsync(HOUR);
    bytes.grow(2 * MIB);
    await until(() => taken.at(-1) === 2 * MIB && read.mock.calls.length === 3);
    await vi.advanceTimersByTimeAsync(HOUR);
    bytes.grow(32);
    await vi.advanceTimersByTimeAsync(HOUR);
    bytes.prove();
    expect((await done).snapshot.size).toBe(2 * MIB + 32);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('ends a part that takes longer than it', async () => {
    await using s3 = await startScriptedS3({ silentAt: 2 });
    const store = createS3Store(s3.settings, options);
    const bytes = GrowingBytes.whole(someBytes(2 * MIB + 32));
    let taken = 0;
    const onProgress = (count: number) => {
      taken = count;
    };
    const done = store.put(uploadOf(NAME, bytes, { onProgress }), never);
    // Each of the others gives the rest all the time again.
    await until(() => taken === MIB + 32);
    const ended = expect(done).rejects.toMatchObject({
      code: 'timeout',
      why: expect.stringContaining('needed longer than 60 s'),
    });
    await vi.advanceTimersByTimeAsync(60_000);
    await ended;
  });
});
