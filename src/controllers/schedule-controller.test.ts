import { describe, expect, it } from 'vitest';
import { fakeTimers } from '../../test/support/fake-clock.ts';
import type { Schedule } from '../snapshot/schedule.ts';
import { runSchedule } from './schedule-controller.ts';

const HOUR = 3_600_000;
const start = new Date('2026-03-01T00:30:00Z');

/** At every full hour. */
const hourly: Schedule = {
  text: '0 * * * *',
  next: (after) => new Date((Math.floor(after.getTime() / HOUR) + 1) * HOUR),
  settle: (_, now) => now,
};

interface Started {
  readonly at: Date;
  readonly attempt: number;
  readonly end: (retryAfterMs?: number) => void;
  readonly signal: AbortSignal;
}

interface Circumstances {
  readonly jitterMs?: number;
  readonly random?: number;
  readonly lastRun?: Date;
}

function run(schedule = hourly, { jitterMs = 0, random = 0.5, lastRun }: Circumstances = {}) {
  const timers = fakeTimers(start);
  const stop = new AbortController();
  const abort = new AbortController();
  const started: Started[] = [];
  const skipped: Date[] = [];
  const next: (Date | undefined)[] = [];
  const done = runSchedule(
    {
      schedule,
      lastRun,
      jitterMs,
      timers,
      random: () => random,
      attempt: (attempt, signal) => {
        const { promise, resolve, reject } = Promise.withResolvers<number | undefined>();
        signal.addEventListener('abort', () => reject(new Error('aborted')));
        started.push({ at: timers.now(), attempt, end: resolve, signal });
        return promise;
      },
      onNext: (at) => next.push(at),
      onSkipped: (at) => skipped.push(at),
      onError: (error) => {
        throw error;
      },
    },
    stop.signal,
    abort.signal,
  );
  const times = () => started.map(({ at }) => at.toISOString().slice(11, 19));
  return { timers, stop, abort, started, skipped, next, done, times };
}

describe('runSchedule', () => {
  it('runs when it is due, and says when it does next', async () => {
    const it = run();
    await it.timers.advance(29 * 60_000);
    expect(it.times()).toEqual([]);
    await it.timers.advance(60_000);
    it.started[0]?.end();
    await it.timers.advance(HOUR);
    expect(it.times()).toEqual(['01:00:00', '02:00:00']);
    expect(it.next.at(0)?.toISOString()).toBe('2026-03-01T01:00:00.000Z');
    expect(it.next.at(-1)?.toISOString()).toBe('2026-03-01T03:00:00.000Z');
  });

  it('takes what was missed while no operator ran once, and then goes on as usual', async () => {
    const it = run(hourly, { lastRun: new Date('2026-02-28T10:00:03Z') });
    await it.timers.advance(0);
    expect(it.times()).toEqual(['00:30:00']);
    it.started[0]?.end();
    await it.timers.advance(HOUR);
    expect(it.times()).toEqual(['00:30:00', '01:00:00']);
  });

  it('does not run again what an earlier process has run', async () => {
    const it = run(hourly, { lastRun: new Date('2026-03-01T00:00:03Z') });
    await it.timers.advance(29 * 60_000);
    expect(it.times()).toEqual([]);
  });

  it('puts a run off by its share of the jitter', async () => {
    const it = run(hourly, { jitterMs: 5_000, random: 0.5 });
    await it.timers.advance(30 * 60_000 + 2_499);
    expect(it.times()).toEqual([]);
    await it.timers.advance(1);
    expect(it.times()).toHaveLength(1);
  });

  it('skips what is due while the last run still goes', async () => {
    const it = run();
    await it.timers.advance(2 * HOUR);
    expect(it.times()).toEqual(['01:00:00']);
    expect(it.skipped.map((at) => at.toISOString())).toEqual(['2026-03-01T02:00:00.000Z']);
    it.started[0]?.end();
    await it.timers.advance(HOUR);
    expect(it.times()).toEqual(['01:00:00', '03:00:00']);
  });

  it('tries again after the time that an attempt asks for, and makes way for the run that is due', async () => {
    const it = run();
    await it.timers.advance(30 * 60_000);
    it.started[0]?.end(60_000);
    await it.timers.advance(60_000);
    expect(it.started.map(({ attempt }) => attempt)).toEqual([0, 1]);
    it.started[1]?.end(2 * HOUR);
    await it.timers.advance(HOUR);
    expect(it.times()).toEqual(['01:00:00', '01:01:00', '02:00:00']);
    expect(it.started.at(-1)?.attempt).toBe(0);
    expect(it.skipped).toEqual([]);
  });

  it('takes what was missed while the machine slept once', async () => {
    const it = run();
    it.timers.setClock(new Date('2026-03-03T10:20:00Z'));
    await it.timers.advance(60_000);
    expect(it.times()).toHaveLength(1);
    it.started[0]?.end();
    await it.timers.advance(30 * 60_000);
    expect(it.times()).toHaveLength(1);
    await it.timers.advance(10 * 60_000);
    expect(it.times()).toHaveLength(2);
  });

  it('counts from the new time when the clock is put back, and does not wait for the old one', async () => {
    const it = run();
    it.timers.setClock(new Date('2026-02-27T23:50:00Z'));
    await it.timers.advance(11 * 60_000);
    expect(it.started[0]?.at.toISOString().slice(0, 16)).toBe('2026-02-28T00:00');
  });

  it('lets a run that goes finish after the stop, and begins no new one', async () => {
    const it = run();
    await it.timers.advance(30 * 60_000);
    it.stop.abort();
    await it.timers.advance(2 * HOUR);
    expect(it.times()).toHaveLength(1);
    expect(it.started[0]?.signal.aborted).toBe(false);
    it.started[0]?.end(60_000);
    await it.done;
  });

  it('ends a run that goes when it is aborted, and does not wait for one that only waits', async () => {
    const going = run();
    await going.timers.advance(30 * 60_000);
    going.stop.abort();
    going.abort.abort();
    await going.done;
    const waiting = run();
    await waiting.timers.advance(30 * 60_000);
    waiting.started[0]?.end(HOUR);
    await waiting.timers.advance(1);
    waiting.stop.abort();
    await waiting.done;
  });

  it('ends by itself when the schedule never comes true again', async () => {
    const it = run({ text: 'never', next: () => undefined, settle: (_, now) => now });
    await it.done;
    expect(it.next).toEqual([undefined]);
  });
});
