import { Cron } from 'croner';
import { SnapshotError } from '../errors.ts';
import { CronProblem, plainCronFields } from './cron-fields.ts';
import { parseDuration } from './go-duration.ts';

const DESCRIPTORS: Readonly<Record<string, string>> = {
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
  '@monthly': '0 0 1 * *',
  '@weekly': '0 0 * * 0',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@hourly': '0 * * * *',
};

const CURE =
  'Write five fields (minute, hour, day of the month, month, day of the week), such as "0 */12 * * *", ' +
  'or @yearly, @monthly, @weekly, @daily, @hourly or "@every 90m"; put "CRON_TZ=Europe/Berlin " before it for a time zone.';

/** So much later than now may the last run be, because the clock was put right a little, and still count. */
const CLOCK_TOLERANCE_MS = 300_000;

export interface Schedule {
  /** As it was written. */
  readonly text: string;
  /** The first run after that moment; undefined when there is none that a date can express. */
  next(after: Date): Date | undefined;
  /** Where to go on from once everything up to `now` is settled, `since` being where it went on from before. */
  settle(since: Date, now: Date): Date;
}

/**
 * A schedule as k3s reads it: five fields or a descriptor, in the time of the system or of the zone that `CRON_TZ=` or `TZ=`
 * names before it, or `@every` with a Go duration, from the last run on.
 *
 * Where clocks are changed, one minute of one hour (`30 2 * * *`) runs once that day: at the first minute that exists when it
 * is left out, where k3s skips the day, and the first time when it comes twice. Anything more frequent runs whenever the clock
 * shows a minute that it allows: what is left out is skipped, what comes twice runs twice.
 *
 * @throws SnapshotError `usage`
 */
export function parseSchedule(text: string): Schedule {
  const [, zone, rest] = /^(?:(?:CRON_)?TZ=(\S*)\s*)?(.*)$/s.exec(text.trim()) ?? [];
  const body = rest ?? '';
  if (zone !== undefined && !isTimeZone(zone)) {
    throw refusal(text, `${JSON.stringify(zone)} is no time zone that this system knows`);
  }
  if (body === '') throw refusal(text, 'it is empty');
  if (/^@every(\s|$)/.test(body)) return everySchedule(text, body.slice('@every'.length).trim());
  const fields = body.startsWith('@') ? DESCRIPTORS[body] : body;
  if (fields === undefined) throw refusal(text, `${JSON.stringify(body)} is no descriptor that is known`);
  return cronSchedule(text, fields, zone);
}

function cronSchedule(text: string, fields: string, zone: string | undefined): Schedule {
  let plain: string;
  try {
    plain = plainCronFields(fields);
  } catch (error) {
    if (error instanceof CronProblem) throw refusal(text, error.message);
    throw error;
  }
  const cron = new Cron(plain, { mode: '5-part', ...(zone === undefined ? {} : { timezone: zone }) });
  return { text, next: (after) => cron.nextRun(after) ?? undefined, settle: (_, now) => now };
}

function everySchedule(text: string, duration: string): Schedule {
  const wait = parseDuration(duration);
  if (wait === undefined) {
    throw refusal(text, `${JSON.stringify(duration)} is no duration such as 90m or 1h30m`);
  }
  if (wait < 1000) throw refusal(text, 'a second is the shortest wait');
  const period = Math.floor(wait / 1000) * 1000;
  return {
    text,
    next(after) {
      const at = new Date(after.getTime() + period);
      return Number.isNaN(at.getTime()) ? undefined : at;
    },
    settle: (since, now) =>
      new Date(since.getTime() + Math.floor((now.getTime() - since.getTime()) / period) * period),
  };
}

export interface DueRun {
  /** Whether a run is to begin now. However many were missed, they are one. */
  readonly due: boolean;
  /** The next run: after this one, when one is due. */
  readonly next: Date | undefined;
  /**
   * The `lastRun` of the next decision once this one was acted upon. Decide once more when a run has ended, and only keep
   * this: what fell due while it ran is thereby skipped, as k3s does.
   */
  readonly settled: Date;
}

/**
 * Whether a run is owed. A run that was missed by a long pause, or because the clock was put forward, is taken once. A last
 * run in the future was written by a clock that was wrong, and is not waited for.
 *
 * @param lastRun `settled` of the last decision, or the time of the newest scheduled snapshot; undefined when there was none
 * @param startedAt since when the schedule is in force
 */
export function dueRun(schedule: Schedule, lastRun: Date | undefined, startedAt: Date, now: Date): DueRun {
  const since = lastRun ?? startedAt;
  const from = since.getTime() > now.getTime() + CLOCK_TOLERANCE_MS ? now : since;
  const first = schedule.next(from);
  if (first === undefined || first > now) return { due: false, next: first, settled: from };
  const settled = schedule.settle(from, now);
  return { due: true, next: schedule.next(settled), settled };
}

function isTimeZone(zone: string): boolean {
  if (!/^[A-Za-z][-+\w/]*$/.test(zone)) return false;
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone });
    return true;
  } catch {
    return false;
  }
}

function refusal(text: string, why: string): SnapshotError {
  return new SnapshotError('usage', `The schedule ${JSON.stringify(text)} cannot be used`, {
    why,
    hint: CURE,
  });
}
