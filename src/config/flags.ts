import { parseArgs } from 'node:util';
import { closest, distance } from 'fastest-levenshtein';
import { parseBoolean, parseDuration } from './duration.ts';
import { type Option, type OptionKey, optionOfFlag, options } from './options.ts';

/** One thing that is wrong with the command line or a setting: what, and what to do. */
export interface Problem {
  readonly what: string;
  readonly cure: string;
}

/** Settings as text, as they were given; booleans and durations have been checked. */
export type Given = Partial<Record<OptionKey, string>>;

export interface ParsedFlags {
  readonly given: Given;
  /** What is no flag: command and arguments, in order. */
  readonly words: readonly string[];
  readonly help: boolean;
  readonly version: boolean;
  readonly problems: readonly Problem[];
}

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
  const { tokens } = parseArgs({ args: [...argv], options: parserOptions, strict: false, tokens: true });
  const given: Given = {};
  const spelledBy = new Map<OptionKey, string>();
  const words: string[] = [];
  const problems: Problem[] = [];
  let help = false;
  let version = false;
  for (const token of tokens) {
    if (token.kind === 'positional') words.push(token.value);
    if (token.kind !== 'option') continue;
    if (token.name === 'help') help = true;
    else if (token.name === 'version') version = true;
    else {
      const option = optionOfFlag(token.name);
      if (option === undefined) {
        problems.push({ what: `${token.rawName} is no flag`, cure: suggestion(token.name) });
        continue;
      }
      const value = option.type === 'boolean' ? (token.value ?? 'true') : givenValue(token);
      const problem = valueProblem(option, token.rawName, value);
      if (problem !== undefined) problems.push(problem);
      else if (
        given[option.key] !== undefined &&
        given[option.key] !== value &&
        spelledBy.get(option.key) !== token.rawName
      ) {
        problems.push({
          what: `${spelledBy.get(option.key)} and ${token.rawName} are the same setting with different values`,
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

/** A flag that follows is no value: one that begins with a dash is written with `=`. */
function givenValue(token: {
  readonly value?: string | undefined;
  readonly inlineValue?: boolean | undefined;
}): string | undefined {
  return token.inlineValue !== true && token.value?.startsWith('-') === true ? undefined : token.value;
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
