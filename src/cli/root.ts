import { existsSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { parseFlags } from '../config/flags.ts';
import { resolveConfig, usage } from '../config/resolve.ts';
import type { Config } from '../config/types.ts';
import { helpOf, overview } from './help.ts';

/** What a command may use of the process. */
export interface Terminal {
  readonly stdout: NodeJS.WritableStream & { readonly isTTY?: boolean };
  readonly stderr: NodeJS.WritableStream & { readonly isTTY?: boolean };
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Runs one command and returns its exit code. */
type Command = (config: Config, terminal: Terminal, signal: AbortSignal) => Promise<number>;

/** Each is loaded only when it runs: the bare program starts without SDKs. */
const commands: Readonly<Record<'save' | 'ls', () => Promise<Command>>> = {
  save: async () => (await import('./save.ts')).save,
  ls: async () => (await import('./list.ts')).list,
};

const names: Readonly<Record<string, 'save' | 'ls'>> = { save: 'save', ls: 'ls', list: 'ls', l: 'ls' };

/** @throws SnapshotError `usage`, and whatever the command throws */
export async function run(argv: readonly string[], terminal: Terminal, signal: AbortSignal): Promise<number> {
  const flags = parseFlags(argv);
  const [word, ...rest] = flags.words;
  if (flags.version) {
    const manifest = JSON.parse(readFileSync(new URL('../package.json', entry()), 'utf8')) as {
      version: string;
    };
    terminal.stdout.write(`etcd-snapshot ${manifest.version} (Node ${process.version})\n`);
    return 0;
  }
  if (word === undefined && flags.problems.length === 0) {
    terminal.stdout.write(overview());
    return 0;
  }
  if (word === 'help') {
    const topic = names[rest[0] ?? ''];
    terminal.stdout.write(topic === undefined ? overview() : helpOf(topic));
    return 0;
  }
  const command = names[word ?? ''];
  if (command === undefined) {
    const missing = { what: 'no command is given', cure: 'write save or ls; --help tells more' };
    const unknown = {
      what: `${JSON.stringify(word)} is no command`,
      cure: 'write save or ls; --help tells more',
    };
    throw usage([word === undefined ? missing : unknown, ...flags.problems]);
  }
  if (flags.help) {
    terminal.stdout.write(helpOf(command));
    return 0;
  }
  const config = resolveConfig(command, flags, {
    env: terminal.env,
    hostname: hostname(),
    exists: existsSync,
  });
  return (await commands[command]())(config, terminal, signal);
}

/** The program's own file, in src/ or dist/; the manifest lies one folder above either. */
function entry(): string {
  return new URL(`file://${process.argv[1] ?? ''}`).href;
}
