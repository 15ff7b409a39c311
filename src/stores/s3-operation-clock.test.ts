import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { S3Settings } from '../config/types.ts';
import { orAborted } from '../errors.ts';
import { type OperationClock, timedBy } from './s3-operation-clock.ts';

const never = new AbortController().signal;
const time = timedBy({ endpoint: 's3.test', timeoutMs: 1_000 } as S3Settings);

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Work that only ends with its time; resolves with its clock. */
function begin(): { clock: OperationClock; ended: Promise<string> } {
  let clock: OperationClock = { start() {}, pause() {}, step() {} };
  const ended = time
    .timedByClock('Cannot do it', never, (signal, given) => {
      clock = given;
      return orAborted(new Promise<never>(() => undefined), signal);
    })
    .catch((error: Error) => error.message);
  return { clock, ended };
}

async function isOver(ended: Promise<string>): Promise<boolean> {
  await vi.advanceTimersByTimeAsync(0);
  return (await Promise.race([ended, Promise.resolve('goes on')])) !== 'goes on';
}

describe('the time of an operation', () => {
  it('runs from the start on, and begins anew with each step', async () => {
    const { clock, ended } = begin();
    await vi.advanceTimersByTimeAsync(5_000);
    clock.start();
    for (let step = 0; step < 5; step += 1) {
      await vi.advanceTimersByTimeAsync(900);
      clock.step();
    }
    expect(await isOver(ended)).toBe(false);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await ended).toBe('Cannot do it');
  });

  it('stands still while others are waited for, whatever steps end meanwhile', async () => {
    const { clock, ended } = begin();
    clock.start();
    clock.pause();
    clock.step();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(await isOver(ended)).toBe(false);
    clock.start();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await isOver(ended)).toBe(true);
  });

  it('is one span for plain work, and leaves no timer behind', async () => {
    await time.timed('Cannot do it', never, async () => undefined);
    expect(vi.getTimerCount()).toBe(0);
    const work = time.timed('Cannot do it', never, (signal) =>
      orAborted(new Promise<never>(() => undefined), signal),
    );
    const refused = expect(work).rejects.toMatchObject({
      code: 'timeout',
      why: 's3.test needed longer than 1 s',
      hint: expect.stringContaining('--s3-timeout'),
    });
    await vi.advanceTimersByTimeAsync(1_000);
    await refused;
  });
});
