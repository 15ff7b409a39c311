import { existsSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { pathToFileURL } from 'node:url';
import { closest, distance } from 'fastest-levenshtein';
import { readConfigFiles } from '../config/config-file.ts';
import { parseFlags } from '../config/flags.ts';
import type { CommandName } from '../config/option.ts';
import { commandWords } from '../config/options.ts';
import { resolveConfig, usage } from '../config/resolve.ts';
import type { Config } from '../config/types.ts';
import { asError } from '../errors.ts';
import { markTold } from './error-text.ts';
import { helpers, helpOf, overview } from './help.ts';

type Stream = NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number };

/** What a command may use of the process. */
export interface Terminal {
  readonly stdout: Stream;
  readonly stderr: Stream;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Runs one command and returns its exit code. */
type Command = (config: Config, terminal: Terminal, signal: AbortSignal) => Promise<number>;

/** Each is loaded only when it runs: the bare program starts without SDKs. */
const commands: Readonly<Record<CommandName, () => Promise<Command>>> = {
  save: async () => (await import('./save.ts')).save,
  ls: async () => (await import('./list.ts')).list,
  delete: async () => (await import('./delete.ts')).deleteByName,
  prune: async () => (await import('./prune.ts')).prune,
  operator: async () => (await import('./operator.ts')).operator,
  s3: async () => (await import('./s3-check.ts')).s3Check,
};

const SEE_HELP = `write one of ${Object.keys(commands).join(', ')}; --help tells more`;

/** @throws SnapshotError `usage`, and whatever the command throws */
export async function run(argv: readonly string[], terminal: Terminal, signal: AbortSignal): Promise<number> {
  const parsed = parseFlags(argv);
  // `k3s etcd-snapshot save` with `k3s` replaced by this program, and nothing else.
  const words = parsed.words[0] === 'etcd-snapshot' ? parsed.words.slice(1) : parsed.words;
  const flags = { ...parsed, words };
  const [word, topic] = words;
  const show = (text: string): number => {
    terminal.stdout.write(text);
    return 0;
  };
  if (flags.version) return show(`etcd-snapshot ${version()} (Node ${process.version})\n`);
  if (argv.length === 0 || (word === undefined && flags.help)) return show(overview());
  if (word === 'help' || (flags.help && word !== undefined && Object.hasOwn(helpers, word))) {
    const named = commandOf(topic);
    return show(named === undefined ? overview() : helpOf(named));
  }
  if (word === 'man') return show((await import('./man-page.ts')).manPage());
  if (word === 'completion') return show((await import('./completion.ts')).completionFor(topic));
  const command = commandOf(word);
  if (command === undefined) {
    const problem =
      word === undefined
        ? { what: 'no command is given', cure: SEE_HELP }
        : { what: `${JSON.stringify(word)} is no command`, cure: suggestion(word) };
    throw usage([problem, ...flags.problems]);
  }
  if (flags.help) return show(helpOf(command));
  const around = { env: terminal.env, hostname: hostname(), cwd: process.cwd(), exists: existsSync };
  const file = await readConfigFiles(command, flags.given, around);
  const config = resolveConfig(command, flags, around, file);
  try {
    return await (await commands[command]())(config, terminal, signal);
  } catch (thrown) {
    const error = asError(thrown);
    if (config.progress === 'json') {
      const { forPrograms } = await import('./messages.ts');
      forPrograms(config, terminal).fail([error]);
      markTold(error);
    }
    throw error;
  }
}

function commandOf(word: string | undefined): CommandName | undefined {
  return word !== undefined && Object.hasOwn(commandWords, word) ? commandWords[word] : undefined;
}

function suggestion(word: string): string {
  const near = closest(word, Object.keys(commandWords));
  return distance(word, near) <= Math.min(2, word.length - 1) ? `did you mean ${near}?` : SEE_HELP;
}

/** The program's own file lies in src/ or dist/, the manifest one folder above either. */
function version(): string {
  const manifest: unknown = JSON.parse(
    readFileSync(new URL('../package.json', pathToFileURL(process.argv[1] ?? '')), 'utf8'),
  );
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest
    ? String(manifest.version)
    : 'unknown';
}
