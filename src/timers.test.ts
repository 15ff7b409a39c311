import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { fakeTimers } from '../test/support/fake-clock.ts';
import { isSnapshotError } from './errors.ts';
import { pause, rest, systemTimers, type Timers } from './timers.ts';

const DAY_MS = 86_400_000;

interface Driven {
  readonly timers: Timers;
  readonly advance: (ms: number) => Promise<void>;
}

function drivenSystem(): Driven {
  return {
    timers: systemTimers,
    advance: async (ms) => {
      await vi.advanceTimersByTimeAsync(ms);
    },
  };
}

function drivenFake(): Driven {
  const timers = fakeTimers();
  return { timers, advance: (ms) => timers.advance(ms) };
}

describe.each([
  ['the timers of the system', drivenSystem],
  ['the timers of tests', drivenFake],
])('%s', (_, drive) => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date', 'performance'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('run what is due in order, each once', async () => {
    const { timers, advance } = drive();
    const ran: string[] = [];
    timers.after(20, () => ran.push('late'));
    timers.after(10, () => ran.push('soon'));
    timers.after(0, () => ran.push('now'));
    expect(ran).toEqual([]);
    await advance(0);
    expect(ran).toEqual(['now']);
    await advance(19);
    expect(ran).toEqual(['now', 'soon']);
    await advance(100);
    expect(ran).toEqual(['now', 'soon', 'late']);
  });

  it('take a time in the past as now', async () => {
    const { timers, advance } = drive();
    const run = vi.fn();
    timers.after(-5, run);
    expect(run).not.toHaveBeenCalled();
    await advance(1);
    expect(run).toHaveBeenCalledOnce();
  });

  it('run nothing that was cancelled', async () => {
    const { timers, advance } = drive();
    const run = vi.fn();
    timers.after(10, run)[Symbol.dispose]();
    await advance(100);
    expect(run).not.toHaveBeenCalled();
  });

  it('wait longer than Node can, and are cancelled between two slices', async () => {
    const { timers, advance } = drive();
    const kept = vi.fn();
    const cancelled = vi.fn();
    timers.after(40 * DAY_MS, kept);
    const second = timers.after(40 * DAY_MS, cancelled);
    await advance(40 * DAY_MS - 1);
    expect(kept).not.toHaveBeenCalled();
    second[Symbol.dispose]();
    await advance(1);
    expect(kept).toHaveBeenCalledOnce();
    expect(cancelled).not.toHaveBeenCalled();
  });

  it('tell both clocks', async () => {
    const { timers, advance } = drive();
    const [wall, monotonic] = [timers.now().getTime(), timers.monotonic()];
    await advance(1500);
    expect(timers.now().getTime() - wall).toBe(1500);
    expect(timers.monotonic() - monotonic).toBe(1500);
  });
});

describe('the timers of tests', () => {
  it('run late, and in order, what fell due while everything was frozen', async () => {
    const timers = fakeTimers();
    const ran: [string, number][] = [];
    timers.after(20, () => ran.push(['b', timers.monotonic()]));
    timers.after(10, () => ran.push(['a', timers.monotonic()]));
    timers.freeze(1000);
    expect(ran).toEqual([]);
    await timers.advance(0);
    expect(ran).toEqual([
      ['a', 1000],
      ['b', 1000],
    ]);
  });

  it('keep their pace when somebody sets the clock', async () => {
    const timers = fakeTimers('2024-01-01T00:00:00Z');
    const run = vi.fn();
    timers.after(10, run);
    timers.setClock(new Date('2025-01-01T00:00:00Z'));
    await timers.advance(9);
    expect(run).not.toHaveBeenCalled();
    expect(timers.now().toISOString()).toBe('2025-01-01T00:00:00.009Z');
    await timers.advance(1);
    expect(run).toHaveBeenCalledOnce();
  });

  it('settle promises between two timers', async () => {
    const timers = fakeTimers();
    const ran: string[] = [];
    const chain = async () => {
      await pause(timers, 10, new AbortController().signal);
      ran.push('first');
      await pause(timers, 10, new AbortController().signal);
      ran.push('second');
    };
    const done = chain();
    timers.after(15, () => ran.push('between'));
    await timers.advance(20);
    expect(ran).toEqual(['first', 'between', 'second']);
    expect(timers.waiting).toBe(0);
    await done;
  });
});

describe('pause', () => {
  it('ends at once, and leaves no timer, when the signal fires', async () => {
    const timers = fakeTimers();
    const abort = new AbortController();
    const outcome = pause(timers, 1000, abort.signal).catch((error: unknown) => error);
    expect(timers.waiting).toBe(1);
    abort.abort();
    expect(isSnapshotError(await outcome, 'aborted')).toBe(true);
    expect(timers.waiting).toBe(0);
  });

  it('does not begin under a signal that has fired', async () => {
    const timers = fakeTimers();
    await expect(pause(timers, 1000, AbortSignal.abort())).rejects.toThrow(/Interrupted/);
    expect(timers.waiting).toBe(0);
  });
});

describe('rest', () => {
  it('resolves when the time is over, and not before', async () => {
    const timers = fakeTimers();
    const over = vi.fn();
    const resting = rest(timers, 1000, new AbortController().signal).then(over);
    await timers.advance(999);
    expect(over).not.toHaveBeenCalled();
    await timers.advance(1);
    await resting;
    expect(over).toHaveBeenCalledOnce();
  });

  it('resolves at once, and leaves no timer, when the signal fires', async () => {
    const timers = fakeTimers();
    const abort = new AbortController();
    const resting = rest(timers, 1000, abort.signal);
    abort.abort();
    await expect(resting).resolves.toBeUndefined();
    expect(timers.waiting).toBe(0);
  });

  it('does not begin under a signal that has fired', async () => {
    const timers = fakeTimers();
    await rest(timers, 1000, AbortSignal.abort());
    expect(timers.waiting).toBe(0);
  });
});
