import { afterEach, describe, expect, it, vi } from 'vitest';
import { isSnapshotError } from '../errors.ts';
import { dueRun, parseSchedule } from './schedule.ts';

/** The next `count` runs after `from`, in UTC without seconds. */
function runs(text: string, from: string, count: number): (string | undefined)[] {
  const schedule = parseSchedule(text);
  const found: (string | undefined)[] = [];
  let after = new Date(from);
  for (let run = 0; run < count; run += 1) {
    const next = schedule.next(after);
    found.push(next?.toISOString().replace(':00.000Z', ''));
    if (next === undefined) break;
    after = next;
  }
  return found;
}

afterEach(() => {
  vi.unstubAllEnvs();
});

describe('parseSchedule', () => {
  it.each<[text: string, from: string, next: readonly string[]]>([
    ['0 */12 * * *', '2024-10-30T17:20', ['2024-10-31T00:00', '2024-10-31T12:00', '2024-11-01T00:00']],
    ['0 */5 * * *', '2024-10-30T17:20', ['2024-10-30T20:00', '2024-10-31T00:00', '2024-10-31T05:00']],
    ['  5  4 * * *  ', '2024-10-30T04:05', ['2024-10-31T04:05']],
    ['*/20 9-10 * * 1-5', '2024-11-01T10:40', ['2024-11-04T09:00', '2024-11-04T09:20', '2024-11-04T09:40']],
    ['50/5 0 * * *', '2024-10-30T00:00', ['2024-10-30T00:50', '2024-10-30T00:55', '2024-10-31T00:50']],
    ['0 0 ? JAN,jul SUN', '2024-01-28T00:00', ['2024-07-07T00:00']],
    ['0 0 * * 7', '2024-10-30T00:00', ['2024-11-03T00:00', '2024-11-10T00:00']],
    ['0 0 * * fri-6', '2024-10-30T00:00', ['2024-11-01T00:00', '2024-11-02T00:00', '2024-11-08T00:00']],
    ['0 0 1,15 * wed', '2024-10-30T00:00', ['2024-11-01T00:00', '2024-11-06T00:00', '2024-11-13T00:00']],
    ['0 0 */10 * *', '2024-10-30T00:00', ['2024-10-31T00:00', '2024-11-01T00:00', '2024-11-11T00:00']],
    ['0 0 31 * *', '2024-03-31T00:00', ['2024-05-31T00:00', '2024-07-31T00:00']],
    ['0 0 31 2 mon', '2024-02-01T00:00', ['2024-02-05T00:00', '2024-02-12T00:00']],
    ['0 0 29 2 *', '2024-02-29T00:00', ['2028-02-29T00:00', '2032-02-29T00:00']],
    ['0 0 29 2 *', '2096-03-01T00:00', ['2104-02-29T00:00']],
    ['@hourly', '2024-10-30T17:20', ['2024-10-30T18:00', '2024-10-30T19:00']],
    ['@daily', '2024-12-31T17:20', ['2025-01-01T00:00', '2025-01-02T00:00']],
    ['@midnight', '2024-12-31T17:20', ['2025-01-01T00:00']],
    ['@weekly', '2024-10-30T17:20', ['2024-11-03T00:00', '2024-11-10T00:00']],
    ['@monthly', '2024-10-30T17:20', ['2024-11-01T00:00', '2024-12-01T00:00']],
    ['@yearly', '2024-10-30T17:20', ['2025-01-01T00:00', '2026-01-01T00:00']],
    ['@annually', '2024-10-30T17:20', ['2025-01-01T00:00']],
    ['@every 90m', '2024-10-30T17:20', ['2024-10-30T18:50', '2024-10-30T20:20']],
    ['@every   1h30m', '2024-10-30T17:20', ['2024-10-30T18:50']],
    ['CRON_TZ=Asia/Tokyo 0 6 * * *', '2024-10-30T17:20', ['2024-10-30T21:00', '2024-10-31T21:00']],
    ['TZ=Asia/Kathmandu @daily', '2024-10-30T17:20', ['2024-10-30T18:15']],
    ['CRON_TZ=UTC @every 1m', '2024-10-30T17:20', ['2024-10-30T17:21']],
  ])('reads %s', (text, from, next) => {
    vi.stubEnv('TZ', 'UTC');
    expect(runs(text, `${from}:00Z`, next.length)).toEqual(next);
  });

  it('keeps the text as it was written', () => {
    expect(parseSchedule('CRON_TZ=UTC @daily').text).toBe('CRON_TZ=UTC @daily');
  });

  it.each([
    ['2024-10-30T12:00:00.000Z', '2024-10-31T00:00:00.000Z'],
    ['2024-10-30T11:59:59.999Z', '2024-10-30T12:00:00.000Z'],
    ['2024-10-30T12:00:00.001Z', '2024-10-31T00:00:00.000Z'],
  ])('finds, after %s, only what is later', (after, next) => {
    expect(parseSchedule('CRON_TZ=UTC 0 */12 * * *').next(new Date(after))?.toISOString()).toBe(next);
  });

  it('waits whole seconds', () => {
    const next = parseSchedule('@every 1.9s').next(new Date('2024-10-30T12:00:00Z'));
    expect(next?.toISOString()).toBe('2024-10-30T12:00:01.000Z');
  });

  it('knows no run beyond the end of time', () => {
    expect(parseSchedule('@every 2400000000h').next(new Date('2024-10-30T12:00:00Z'))).toBeUndefined();
  });

  const berlinForward = '2025-03-29T12:00:00Z';
  const berlinBack = '2025-10-25T21:30:00Z';
  const newYorkForward = '2025-03-08T12:00:00Z';
  const newYorkBack = '2025-11-02T03:30:00Z';
  const changes: readonly (readonly [string, string, string, readonly string[]])[] = [
    // 02:00 to 03:00 is left out.
    ['Europe/Berlin', '30 2 * * *', berlinForward, ['2025-03-30T01:00', '2025-03-31T00:30']],
    ['Europe/Berlin', '30 3 * * *', berlinForward, ['2025-03-30T01:30', '2025-03-31T01:30']],
    ['Europe/Berlin', '0,30 2 * * *', berlinForward, ['2025-03-31T00:00', '2025-03-31T00:30']],
    [
      'Europe/Berlin',
      '0 */12 * * *',
      berlinForward,
      ['2025-03-29T23:00', '2025-03-30T10:00', '2025-03-30T22:00'],
    ],
    ['Europe/Berlin', '0 * * * *', '2025-03-29T23:30:00Z', ['2025-03-30T00:00', '2025-03-30T01:00']],
    // 02:00 to 03:00 comes twice.
    ['Europe/Berlin', '30 2 * * *', berlinBack, ['2025-10-26T00:30', '2025-10-27T01:30']],
    [
      'Europe/Berlin',
      '0 */12 * * *',
      berlinBack,
      ['2025-10-25T22:00', '2025-10-26T11:00', '2025-10-26T23:00'],
    ],
    [
      'Europe/Berlin',
      '0 * * * *',
      '2025-10-25T23:30:00Z',
      ['2025-10-26T00:00', '2025-10-26T01:00', '2025-10-26T02:00'],
    ],
    [
      'Europe/Berlin',
      '0,30 2 * * *',
      berlinBack,
      ['2025-10-26T00:00', '2025-10-26T00:30', '2025-10-26T01:00', '2025-10-26T01:30', '2025-10-27T01:00'],
    ],
    // 02:00 to 03:00 is left out.
    ['America/New_York', '30 2 * * *', newYorkForward, ['2025-03-09T07:00', '2025-03-10T06:30']],
    [
      'America/New_York',
      '0 */12 * * *',
      newYorkForward,
      ['2025-03-08T17:00', '2025-03-09T05:00', '2025-03-09T16:00'],
    ],
    ['America/New_York', '0 * * * *', '2025-03-09T05:30:00Z', ['2025-03-09T06:00', '2025-03-09T07:00']],
    // 01:00 to 02:00 comes twice.
    ['America/New_York', '30 1 * * *', newYorkBack, ['2025-11-02T05:30', '2025-11-03T06:30']],
    [
      'America/New_York',
      '0 */12 * * *',
      newYorkBack,
      ['2025-11-02T04:00', '2025-11-02T17:00', '2025-11-03T05:00'],
    ],
    [
      'America/New_York',
      '0 * * * *',
      '2025-11-02T04:30:00Z',
      ['2025-11-02T05:00', '2025-11-02T06:00', '2025-11-02T07:00'],
    ],
    // Midnight itself is left out.
    ['America/Santiago', '0 0 * * *', '2025-09-06T12:00:00Z', ['2025-09-07T04:00', '2025-09-08T03:00']],
    // Half an hour is left out, and comes twice.
    ['Australia/Lord_Howe', '15 2 * * *', '2025-10-04T12:00:00Z', ['2025-10-04T15:30', '2025-10-05T15:15']],
    ['Australia/Lord_Howe', '15 2 * * *', '2025-04-05T14:20:00Z', ['2025-04-05T15:45', '2025-04-06T15:45']],
    [
      'Pacific/Chatham',
      '*/15 * * * *',
      '2025-04-05T12:00:00Z',
      ['2025-04-05T12:15', '2025-04-05T12:30', '2025-04-05T12:45'],
    ],
  ];

  it.each(changes)('changes clocks in %s: %s', (zone, text, from, next) => {
    vi.stubEnv('TZ', 'UTC');
    expect(runs(`CRON_TZ=${zone} ${text}`, from, next.length)).toEqual(next);
  });

  it.each(changes)('changes clocks in %s as the time of the system: %s', (zone, text, from, next) => {
    vi.stubEnv('TZ', zone);
    expect(runs(text, from, next.length)).toEqual(next);
  });

  it.each([
    ['', 'it is empty'],
    ['   ', 'it is empty'],
    ['CRON_TZ=UTC', 'it is empty'],
    ['* * * *', 'five fields are needed, and it has 4'],
    ['0 0 */12 * * *', 'five fields are needed, and it has 6'],
    ['1,,2 * * * *', 'the minute "" is not understood'],
    ['daily', 'five fields are needed, and it has 1'],
    ['@reboot', '"@reboot" is no descriptor that is known'],
    ['@Daily', '"@Daily" is no descriptor that is known'],
    ['@daily 5', '"@daily 5" is no descriptor that is known'],
    ['@everyday', '"@everyday" is no descriptor that is known'],
    ['@every', '"" is no duration such as 90m or 1h30m'],
    ['@every 5', '"5" is no duration such as 90m or 1h30m'],
    ['@every -5m', '"-5m" is no duration such as 90m or 1h30m'],
    ['@every 1d', '"1d" is no duration such as 90m or 1h30m'],
    ['@every 0', 'a second is the shortest wait'],
    ['@every 999ms', 'a second is the shortest wait'],
    ['CRON_TZ= 0 0 * * *', '"" is no time zone that this system knows'],
    ['TZ=Mars/Olympus 0 0 * * *', '"Mars/Olympus" is no time zone that this system knows'],
    ['CRON_TZ=+02:00 @daily', '"+02:00" is no time zone that this system knows'],
    ['ZONE=UTC 0 0 * * *', 'five fields are needed, and it has 6'],
  ])('refuses %j: %s', (text, why) => {
    const refused = () => parseSchedule(text);
    expect(refused).toThrowError(expect.toSatisfy((error) => isSnapshotError(error, 'usage')));
    expect(refused).toThrowError(
      expect.objectContaining({
        message: `The schedule ${JSON.stringify(text)} cannot be used`,
        why,
        hint: expect.stringContaining('Write five fields'),
      }),
    );
  });
});

describe('dueRun', () => {
  const twiceADay = parseSchedule('CRON_TZ=UTC 0 */12 * * *');
  const started = new Date('2024-10-30T17:20:00Z');
  const at = (text: string | undefined) => (text === undefined ? undefined : new Date(`${text}:00Z`));

  it.each<[what: string, last: string | undefined, now: string, due: boolean, next: string]>([
    ['waits for the first run', undefined, '2024-10-30T23:59', false, '2024-10-31T00:00'],
    ['takes the first run', undefined, '2024-10-31T00:00', true, '2024-10-31T12:00'],
    ['waits after a run', '2024-10-31T00:00', '2024-10-31T11:59', false, '2024-10-31T12:00'],
    ['takes the next run', '2024-10-31T00:00', '2024-10-31T12:00', true, '2024-11-01T00:00'],
    ['takes late what is late', '2024-10-31T00:00', '2024-10-31T12:07', true, '2024-11-01T00:00'],
    [
      'takes once what a pause of days missed',
      '2024-10-31T00:00',
      '2024-11-05T13:00',
      true,
      '2024-11-06T00:00',
    ],
    [
      'takes once what was missed before the start',
      '2024-10-20T00:00',
      '2024-10-30T17:20',
      true,
      '2024-10-31T00:00',
    ],
    [
      'takes once what a clock put forward missed',
      '2024-10-31T00:00',
      '2030-01-01T01:00',
      true,
      '2030-01-01T12:00',
    ],
    [
      'does not wait for a last run of a clock that was wrong',
      '2030-01-01T00:00',
      '2024-10-31T01:00',
      false,
      '2024-10-31T12:00',
    ],
    [
      'does not repeat a run when the clock is put right a little',
      '2024-10-31T00:00',
      '2024-10-30T23:57',
      false,
      '2024-10-31T12:00',
    ],
    ['starts under a clock that is put back later', undefined, '2024-10-29T01:00', false, '2024-10-29T12:00'],
  ])('%s', (_, last, now, due, next) => {
    const moment = new Date(`${now}:00Z`);
    const decision = dueRun(twiceADay, at(last), started, moment);
    expect([decision.due, decision.next]).toEqual([due, at(next)]);
    const again = dueRun(twiceADay, decision.settled, started, moment);
    expect([again.due, again.next]).toEqual([false, at(next)]);
  });

  it('skips what fell due while a run went on', () => {
    const begun = dueRun(twiceADay, undefined, started, new Date('2024-10-31T00:00:00Z'));
    const ended = dueRun(twiceADay, begun.settled, started, new Date('2024-10-31T12:30:00Z'));
    expect(ended.due).toBe(true);
    const later = dueRun(twiceADay, ended.settled, started, new Date('2024-10-31T12:31:00Z'));
    expect([later.due, later.next]).toEqual([false, new Date('2024-11-01T00:00:00Z')]);
  });

  it('keeps the pace of @every, however late a run begins', () => {
    const hourly = parseSchedule('@every 1h');
    const late = dueRun(hourly, undefined, started, new Date('2024-10-30T18:20:04.500Z'));
    expect([late.due, late.next]).toEqual([true, new Date('2024-10-30T19:20:00Z')]);
    const missed = dueRun(hourly, late.settled, started, new Date('2024-10-31T01:00:00Z'));
    expect([missed.due, missed.next]).toEqual([true, new Date('2024-10-31T01:20:00Z')]);
  });

  it('owes nothing when there is no next run', () => {
    const never = parseSchedule('@every 2400000000h');
    expect(dueRun(never, undefined, started, started)).toEqual({
      due: false,
      next: undefined,
      settled: started,
    });
  });
});
