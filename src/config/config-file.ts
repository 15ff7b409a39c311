import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { closest, distance } from 'fastest-levenshtein';
import { asError, SnapshotError, systemCode } from '../errors.ts';
import { configPathOf } from './distribution.ts';
import { parseBoolean } from './duration.ts';
import { type Given, type Problem, valueProblem } from './flags.ts';
import { type CommandName, countsFor, type Option, type OptionKey } from './option.ts';
import { optionOfFlag, options } from './options.ts';
import { parseConfig } from './yaml-config.ts';

/** What config files say. Values have been checked one by one. */
export interface FileSettings {
  readonly given: Given;
  /** What a setting is called where it stands, for messages: `etcd-s3-bucket in /etc/rancher/k3s/config.yaml`. */
  readonly sources: Readonly<Partial<Record<OptionKey, string>>>;
  /** Keys that are no settings of this program, in a sentence; undefined: there are none. */
  readonly skipped: string | undefined;
  readonly warnings: readonly SnapshotError[];
  readonly problems: readonly Problem[];
}

export const noFile: FileSettings = {
  given: {},
  sources: {},
  skipped: undefined,
  warnings: [],
  problems: [],
};

/** What is known before the files are read. */
export interface FileSurroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  exists(path: string): boolean;
}

/** In k3s's order: the environment, the flag, and the distribution's own file. */
const PATH_VARIABLES = ['K3S_CONFIG_FILE', 'RKE2_CONFIG_FILE'] as const;

/**
 * Reads the config file and then `<file>.d/*.yaml`, as k3s does: a later file replaces a key, `key+` adds to it, lists count
 * as flags that are given again and again. What is there for other programs is skipped. Never throws: problems are collected.
 * @param flags of the command line
 */
export async function readConfigFiles(
  command: CommandName,
  flags: Given,
  around: FileSurroundings,
): Promise<FileSettings> {
  const variable = PATH_VARIABLES.find((name) => (around.env[name] ?? '') !== '');
  const named = variable === undefined ? flags.config || undefined : around.env[variable];
  const path =
    named ?? configPathOf(flags.distribution?.toLowerCase(), flags.dataDir, (one) => around.exists(one));
  const source = variable ?? '--config';
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(path)) {
    // Only the server of it: there may be a password before it, or a token behind.
    const what = `${source}: an address (of ${URL.parse(path)?.hostname ?? 'somewhere'}) is no file`;
    const cure =
      'fetch it by other means and name the file; what decides where snapshots go is not taken from a network';
    return { ...noFile, problems: [{ what, cure }] };
  }
  const problems: Problem[] = [];
  const merged = new Merged(command, problems);
  const main = await read(path, problems);
  const parts = await dropIns(`${path}.d`, problems);
  if (named !== undefined && main === undefined && parts.length === 0 && problems.length === 0) {
    problems.push({ what: `${source}: there is no file ${JSON.stringify(path)}`, cure: 'correct the path' });
  }
  if (main !== undefined) await merged.add(path, main);
  for (const part of parts) {
    const text = await read(part, problems);
    if (text !== undefined) await merged.add(part, text);
  }
  return merged.result();
}

/** The settings so far. */
class Merged {
  readonly #command: CommandName;
  readonly #problems: Problem[];
  readonly #values = new Map<Option, { readonly texts: readonly string[]; readonly source: string }>();
  readonly #unknown = new Map<string, Set<string>>();
  readonly #warnings: SnapshotError[] = [];

  constructor(command: CommandName, problems: Problem[]) {
    this.#command = command;
    this.#problems = problems;
  }

  async add(path: string, text: string): Promise<void> {
    const parsed = await parseConfig(text);
    if (typeof parsed === 'string') {
      this.#problems.push({
        what: `${path} cannot be read: ${parsed}`,
        cure: 'write it as YAML, key: value on each line',
      });
      return;
    }
    const spelled = new Map<Option, string>();
    for (const [word, value] of parsed) {
      const appends = word.endsWith('+');
      const key = appends ? word.slice(0, -1) : word;
      const option = optionOfFlag(key);
      if (option === undefined) this.#skip(path, key);
      if (option === undefined || !isMeant(option, key, this.#command)) continue;
      const source = `${word} in ${path}`;
      const texts = textsOf(option, value);
      if (texts === undefined) {
        this.#problems.push({
          what: `${source} is a mapping`,
          cure: 'give a plain value, or a list of them',
        });
        continue;
      }
      const earlier = this.#values.get(option);
      const other = spelled.get(option);
      if (other !== undefined && other !== key && earlier?.texts.join() !== texts.join()) {
        const what = `${other} and ${source} are the same setting with different values`;
        this.#problems.push({ what, cure: 'keep one of them' });
      }
      spelled.set(option, key);
      this.#values.set(option, { texts: appends ? [...(earlier?.texts ?? []), ...texts] : texts, source });
    }
  }

  result(): FileSettings {
    const given: Given = {};
    const sources: Partial<Record<OptionKey, string>> = {};
    for (const [option, { texts, source }] of this.#values) {
      const value = option.type === 'list' ? texts.join(',') : (texts.at(-1) ?? '');
      if (value === '') continue;
      const problem = valueProblem(option, source, value);
      if (problem !== undefined) this.#problems.push(problem);
      given[option.key] = value;
      sources[option.key] = source;
    }
    const skipped = [...this.#unknown].map(([path, keys]) => `${[...keys].join(', ')} in ${path}`);
    return {
      given,
      sources,
      skipped:
        skipped.length === 0
          ? undefined
          : `Skipped, for etcd-snapshot has no such settings: ${skipped.join('; ')}`,
      warnings: this.#warnings,
      problems: this.#problems,
    };
  }

  #skip(path: string, key: string): void {
    const keys = this.#unknown.get(path) ?? new Set();
    this.#unknown.set(path, keys.add(key));
    // Of the hundred settings of a server only those about snapshots can be mistyped ones of ours.
    if (!/^(etcd|s3|snapshot)-/.test(key)) return;
    const known = options.flatMap(({ flag, alias }) => (alias === undefined ? [flag] : [flag, alias]));
    const near = closest(key, known);
    if (distance(key, near) > 2) return;
    const what = `${key} in ${path} is no setting, and is skipped`;
    this.#warnings.push(new SnapshotError('usage', what, { hint: `Did you mean ${near}?` }));
  }
}

/**
 * The server's own schedule is not ours: k3s calls its snapshots so, and is told to make none where the operator does. Its
 * command line knows neither key.
 */
function isMeant(option: Option, key: string, command: CommandName): boolean {
  if (key === 'etcd-disable-snapshots' || option.key === 'config' || option.idle !== undefined) return false;
  if (key === 'etcd-snapshot-name' && command !== 'operator') return false;
  return countsFor(command, option);
}

/** One text for each time the flag would be given; undefined for what is no value. */
function textsOf(option: Option, value: unknown): readonly string[] | undefined {
  const texts = Array.isArray(value) ? value : [value];
  const plain = texts.filter((text) => typeof text === 'string' || text === null);
  if (plain.length < texts.length) return undefined;
  return plain.map((text: string | null) => {
    if (text === null || text === '~' || text === 'null') return '';
    if (option.type !== 'boolean' || parseBoolean(text) !== undefined) return text;
    // YAML has more words for them than flags have.
    if (/^(y|yes|on)$/i.test(text)) return 'true';
    return /^(n|no|off)$/i.test(text) ? 'false' : text;
  });
}

async function read(path: string, problems: Problem[]): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '')) return undefined;
    problems.push(unreadable(path, asError(error)));
    return undefined;
  }
}

async function dropIns(folder: string, problems: Problem[]): Promise<string[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    return entries
      .filter((entry) => !entry.isDirectory() && /\.ya?ml$/i.test(entry.name))
      .map(({ name }) => join(folder, name))
      .toSorted((a, b) => (basename(a) < basename(b) ? -1 : 1));
  } catch (error) {
    if (!['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? ''))
      problems.push(unreadable(folder, asError(error)));
    return [];
  }
}

function unreadable(path: string, error: Error): Problem {
  return {
    what: `${path} cannot be read: ${systemCode(error) ?? error.message}`,
    cure: 'run as a user who may read it, or name another file with --config',
  };
}
