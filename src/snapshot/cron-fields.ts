interface Field {
  readonly name: string;
  readonly min: number;
  readonly max: number;
  /** Words for numbers, the first for `from`. */
  readonly words?: { readonly from: number; readonly list: readonly string[] };
}

const MINUTE: Field = { name: 'minute', min: 0, max: 59 };
const HOUR: Field = { name: 'hour', min: 0, max: 23 };
const DAY: Field = { name: 'day of the month', min: 1, max: 31 };
const MONTH: Field = {
  name: 'month',
  min: 1,
  max: 12,
  words: {
    from: 1,
    list: ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'],
  },
};
/** Sunday is 0, and 7 as well. */
const WEEKDAY: Field = {
  name: 'day of the week',
  min: 0,
  max: 7,
  words: { from: 0, list: ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] },
};

const LONGEST_MONTHS = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/** What a field allows: anything, or these numbers in ascending order. */
type Allowed = '*' | readonly number[];

export class CronProblem extends Error {}

/**
 * The five fields of a cron expression as k3s reads them, written out: each one `*` or a list of numbers, so that no
 * calculator can read more, or something else, into them. A field with `*` in it, alone or in a list, allows everything.
 *
 * @throws CronProblem
 */
export function plainCronFields(text: string): string {
  const fields = text.split(/\s+/);
  const [minute, hour, day, month, weekday] = fields;
  if (
    minute === undefined ||
    hour === undefined ||
    day === undefined ||
    month === undefined ||
    weekday === undefined ||
    fields.length > 5
  ) {
    throw new CronProblem(`five fields are needed, and it has ${fields.length}`);
  }
  const days = allowed(day, DAY);
  const months = allowed(month, MONTH);
  const weekdays = allowed(weekday, WEEKDAY);
  if (weekdays === '*' && neverComes(days, months)) {
    throw new CronProblem('no month that it allows has such a day: it never comes true');
  }
  return [
    allowed(minute, MINUTE),
    allowed(hour, HOUR),
    days,
    months,
    weekdays === '*' ? weekdays : numbers(weekdays.map((one) => one % 7)),
  ].join(' ');
}

function neverComes(days: Allowed, months: Allowed): boolean {
  const first = days === '*' ? 1 : (days[0] ?? 1);
  return LONGEST_MONTHS.every((length, at) => (months !== '*' && !months.includes(at + 1)) || first > length);
}

function allowed(text: string, field: Field): Allowed {
  const parts = text.split(',').map((part) => range(part, field));
  return parts.includes('*') ? '*' : numbers(parts.flatMap((part) => (part === '*' ? [] : part)));
}

function numbers(list: readonly number[]): readonly number[] {
  return [...new Set(list)].toSorted((a, b) => a - b);
}

function range(text: string, field: Field): Allowed {
  const refuse = (why: string) => new CronProblem(`the ${field.name} ${JSON.stringify(text)} ${why}`);
  const match = /^(?:([*?])|(\w+)(?:-(\w+))?)(?:\/(\d{1,9}))?$/.exec(text);
  if (match === null) throw refuse('is not understood');
  const [, any, firstWord, lastWord, stepDigits] = match;
  const step = stepDigits === undefined ? 1 : Number(stepDigits);
  if (step === 0) throw refuse('has steps of zero');
  const count = field === WEEKDAY ? 7 : field.max - field.min + 1;
  if (step > count) throw refuse(`has steps of ${step}, and there are only ${count}`);
  if (any !== undefined && step === 1) return '*';

  const one = (word: string): number => {
    const value = numberOf(word, field);
    if (value === undefined) throw refuse('is not understood');
    if (value < field.min || value > field.max) {
      throw refuse(`is out of range: ${field.min} to ${field.max}`);
    }
    return value;
  };
  const top = field === WEEKDAY ? 6 : field.max;
  const first = firstWord === undefined ? field.min : one(firstWord);
  const last =
    lastWord !== undefined ? one(lastWord) : stepDigits === undefined ? first : Math.max(first, top);
  if (last < first) throw refuse('ends before it begins');
  return Array.from({ length: Math.floor((last - first) / step) + 1 }, (_, at) => first + at * step);
}

function numberOf(word: string, { words }: Field): number | undefined {
  if (/^\d{1,9}$/.test(word)) return Number(word);
  const at = words?.list.indexOf(word.toLowerCase()) ?? -1;
  return words === undefined || at < 0 ? undefined : words.from + at;
}
