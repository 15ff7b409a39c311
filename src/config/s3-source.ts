import { SnapshotError } from '../errors.ts';
import { parseBoolean, parseDuration } from './duration.ts';
import type { Given, Problem } from './flags.ts';
import type { Option, OptionKey, Wording } from './option.ts';
import { s3Options } from './s3-options.ts';
import { s3SettingsOf } from './s3-settings.ts';
import type { S3Source } from './types.ts';

/** k3s once took a retention for a setting like the others, and so ignored Secrets that had worked before. */
const NO_SETTING_OF_STORE: readonly OptionKey[] = ['s3', 's3ConfigSecret', 's3Retention'];

/** Where a setting stands: on the command line, or by that name in a config file; else in the environment. */
export interface Origins {
  readonly flags: Given;
  readonly file: Readonly<Partial<Record<OptionKey, string>>>;
}

function wordingOf({ flags, file }: Origins): Wording {
  return {
    name: (key) =>
      (flags[key] ?? '') === '' && file[key] !== undefined
        ? file[key]
        : `--${s3Options.find((option) => option.key === key)?.flag ?? key}`,
    shown: (value) => `: ${JSON.stringify(value)}`,
  };
}

/**
 * Where the settings of S3 come from. The Secret counts only when nothing else is set, as the seed document says; a value
 * that equals its default is not set, as in k3s. What is wrong is added to `problems`.
 * @param all flags over config files over environment
 * @param origins S3 flags without `--s3` are a mistake on the command line, but not elsewhere
 */
export function resolveS3(all: Given, origins: Origins, problems: Problem[]): S3Source {
  const { flags, file } = origins;
  const given = withOwnToken(all, origins);
  const wording = wordingOf(origins);
  if (parseBoolean(given.s3 ?? 'false') !== true) {
    // `--s3=false` switches off on purpose what else is there.
    for (const option of flags.s3 === undefined ? s3Options : []) {
      if (option.key === 's3' || flags[option.key] === undefined) continue;
      const because = given.s3 === undefined ? '' : `, by ${wording.name('s3')}`;
      problems.push({ what: `--${option.flag} is given, but S3 is off${because}`, cure: 'add --s3' });
    }
    return { kind: 'off' };
  }
  const { s3ConfigSecret: name } = given;
  if (name === undefined) {
    return { kind: 'settings', settings: s3SettingsOf(given, wording, problems), ignored: undefined };
  }
  const because = s3Options.flatMap((option) => {
    const value = given[option.key];
    if (NO_SETTING_OF_STORE.includes(option.key) || value === undefined || isDefault(option, value))
      return [];
    if ((flags[option.key] ?? '') !== '') return [`--${option.flag}`];
    return [file[option.key] ?? option.env?.[0] ?? option.flag];
  });
  if (because.length > 0) {
    return { kind: 'settings', settings: s3SettingsOf(given, wording, problems), ignored: { name, because } };
  }
  if (!/^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/.test(name)) {
    problems.push({
      what: `${wording.name('s3ConfigSecret')}: ${JSON.stringify(name)} is no name of a Secret`,
      cure: 'give its name alone; it lies in kube-system',
    });
  }
  return { kind: 'secret', name };
}

/** A session token belongs to its keys: one that the environment has for others makes a server refuse these. */
function withOwnToken(given: Given, { flags, file }: Origins): Given {
  const rank = (key: OptionKey) => {
    if ((flags[key] ?? '') !== '') return 2;
    return file[key] === undefined ? 0 : 1;
  };
  if (given.s3SessionToken === undefined || given.s3SecretKey === undefined) return given;
  if (rank('s3SessionToken') >= rank('s3SecretKey')) return given;
  const { s3SessionToken: _, ...own } = given;
  return own;
}

/** The warning about a Secret that was named and is not read, or undefined. */
export function ignoredSecret(source: S3Source): SnapshotError | undefined {
  if (source.kind !== 'settings' || source.ignored === undefined) return undefined;
  const { name, because } = source.ignored;
  return new SnapshotError('usage', `Secret kube-system/${name} is ignored`, {
    why: `S3 is set by ${because.join(', ')} already, and the two are never mixed`,
    hint: 'Give only --s3 and --s3-config-secret to use the Secret, or leave --s3-config-secret out.',
  });
}

function isDefault(option: Option, value: string): boolean {
  if (option.type === 'boolean') return parseBoolean(value) === false;
  if (option.type === 'duration') return parseDuration(value) === parseDuration(option.default ?? '');
  return (option.type === 'choice' ? value.toLowerCase() : value) === option.default;
}
