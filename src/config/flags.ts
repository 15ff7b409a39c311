import { parseArgs } from 'node:util';
import { closest, distance } from 'fastest-levenshtein';
import { parseBoolean, parseDuration } from './duration.ts';
import type { Option, OptionKey } from './option.ts';
import { commandWords, optionOfFlag, options } from './options.ts';

/** One thing that is wrong with the command line or a setting: what, and what to do. */
export interface Problem {
  readonly what: string;
  readonly cure: string;
}

/** Settings as text, as they were given; booleans, durations, counts and choices have been checked. */
export type Given = Partial<Record<OptionKey, string>>;

export interface ParsedFlags {
  readonly given: Given;
  /** What is no flag: command and arguments, in order. */
  readonly words: readonly string[];
  readonly help: boolean;
  readonly version: boolean;
  readonly problems: readonly Problem[];
}

/** What `k3s server` means by letters that `k3s etcd-snapshot` has for others. */
const SHORT_OF_SERVER: Readonly<Record<string, string>> = { '-t': 'token', '-s': 'server' };

const parserOptions = Object.fromEntries([
  ...options.flatMap((option) => {
    const row = { type: option.type === 'boolean' ? ('boolean' as const) : ('string' as const) };
    const named = { ...row, ...(option.short === undefined ? {} : { short: option.short }) };
    return [
      [option.flag, named] as const,
      ...(option.alias === undefined ? [] : [[option.alias, row] as const]),
    ];
  }),
  ['help', { type: 'boolean' as const, short: 'h' }] as const,
  ['version', { type: 'boolean' as const }] as const,
]);

/** Reads a command line, flags before or after the command. Never throws: every problem is collected. */
export function parseFlags(argv: readonly string[]): ParsedFlags {
  const { tokens } = parseArgs({
    args: withTwoDashes(argv),
    options: parserOptions,
    strict: false,
    tokens: true,
  });
  const given: Given = {};
  const spelledBy = new Map<OptionKey, string>();
  const words: string[] = [];
  const problems: Problem[] = [];
  let help = false;
  let version = false;
  let previous: Previous = {};
  const first = tokens.filter((token) => token.kind === 'positional').map(({ value }) => value);
  const word = first[0] === 'etcd-snapshot' ? first[1] : first[0];
  const ofServer = word !== undefined && commandWords[word] === 'restore';
  for (const token of tokens) {
    const before = previous;
    previous = {};
    if (token.kind === 'positional') {
      // What follows an unknown flag is most likely its value, perhaps a secret one: not a word to talk about.
      if (before.unknown === true && commandWords[token.value] === undefined) continue;
      if (before.boolean !== undefined && parseBoolean(token.value) !== undefined) {
        problems.push({
          what: `${before.boolean} ${token.value} are two words`,
          cure: `write ${before.boolean}=${token.value}`,
        });
      } else words.push(token.value);
    }
    if (token.kind !== 'option') continue;
    if (token.name === 'help') help = true;
    else if (token.name === 'version') version = true;
    else {
      const name = (ofServer ? SHORT_OF_SERVER[token.rawName] : undefined) ?? token.name;
      const option = optionOfFlag(name);
      if (option === undefined) {
        previous = { unknown: token.inlineValue !== true };
        problems.push({ what: `${token.rawName} is no flag`, cure: suggestion(token.name) });
        continue;
      }
      if (option.type === 'boolean' && token.value === undefined) previous = { boolean: token.rawName };
      const value = option.type === 'boolean' ? (token.value ?? 'true') : givenValue(token);
      const problem = valueProblem(option, token.rawName, value);
      const earlier = spelledBy.get(option.key);
      if (problem !== undefined) problems.push(problem);
      else if (option.type === 'list' && earlier !== undefined && value !== undefined) {
        given[option.key] = `${given[option.key] ?? ''},${value}`;
      } else if (earlier !== undefined && earlier !== token.rawName && given[option.key] !== value) {
        problems.push({
          what: `${earlier} and ${token.rawName} are the same setting with different values`,
          cure: 'give one of them',
        });
      } else if (value !== undefined) {
        given[option.key] = value;
        spelledBy.set(option.key, token.rawName);
      }
    }
  }
  return { given, words, help, version, problems };
}

/** What the token before was, where that matters for a word behind it. */
interface Previous {
  readonly unknown?: boolean;
  readonly boolean?: string;
}

/**
 * Go programs take `-name` for `--name`. Otherwise the parser would take such a word apart, letter by letter,
 * and so show what stands behind a mistyped flag.
 */
function withTwoDashes(argv: readonly string[]): string[] {
  const end = argv.indexOf('--');
  return argv.map((word, index) => {
    const [, name = ''] = /^-([^-=][^=]+)/.exec(word) ?? [];
    if (name === '' || (end !== -1 && index > end)) return word;
    const first = name.slice(0, 1);
    const option = optionOfFlag(first);
    // A mistyped flag must not pass for the value of one that does nothing.
    const cluster = first === 'h' || (option?.short === first && option.idle === undefined);
    return cluster && optionOfFlag(name) === undefined && name !== 'help' ? word : `-${word}`;
  });
}

/** A flag that follows is no value: one that begins with a dash is written with `=`. */
function givenValue(token: {
  readonly rawName: string;
  readonly value?: string | undefined;
  readonly inlineValue?: boolean | undefined;
}): string | undefined {
  if (token.inlineValue !== true) return token.value?.startsWith('-') === true ? undefined : token.value;
  // `-o=json`, as Go programs take it.
  return /^-[^-]$/.test(token.rawName) ? token.value?.replace(/^=/, '') : token.value;
}

/** What is wrong with a value, wherever it comes from. @param source the flag or variable, for the message */
export function valueProblem(option: Option, source: string, value: string | undefined): Problem | undefined {
  if (value === undefined) return { what: `${source} needs a value`, cure: `write ${source}=<value>` };
  const shown = option.secret === true ? 'its value' : JSON.stringify(value);
  if (option.type === 'boolean' && parseBoolean(value) === undefined) {
    return { what: `${source}: ${shown} is neither true nor false`, cure: 'use true or false' };
  }
  if (option.type === 'duration' && !((parseDuration(value) ?? 0) > 0)) {
    return { what: `${source}: ${shown} is no time span`, cure: 'use for instance 5m0s, 90s or 1.5h' };
  }
  const count = option.mayBeNegative === true ? /^-?\d{1,9}$/ : /^\d{1,9}$/;
  if (option.type === 'count' && !count.test(value)) {
    return { what: `${source}: ${shown} is no number`, cure: 'use 0 or a whole number above it' };
  }
  const { choices = [] } = option;
  if (option.type === 'choice' && !choices.some((choice) => choice.toLowerCase() === value.toLowerCase())) {
    return { what: `${source}: ${shown} is not one of ${choices.join(', ')}`, cure: 'choose one' };
  }
  return undefined;
}

function suggestion(flag: string): string {
  const known = options.flatMap((option) => [
    option.flag,
    ...(option.alias === undefined ? [] : [option.alias]),
  ]);
  const near = closest(flag, known);
  return distance(flag, near) <= 3 ? `did you mean --${near}?` : 'see --help for all flags';
}
