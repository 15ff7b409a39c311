import { execFile } from 'node:child_process';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommand } from '../support/command.ts';
import { programPath } from '../support/programs.ts';
import { type ScratchDir, scratchDir } from '../support/scratch.ts';
import { snapshotBytes } from '../support/store-contract.ts';

const main = programPath('main');
const NAME = 'on-demand-node-1-1730308816';

/** A home with the executable on the path, the scripts, and a snapshot folder that the config file names. */
let home: ScratchDir;
beforeAll(async () => {
  home = await scratchDir('shells-');
  const snapshots = join(home.path, 'snapshots');
  await mkdir(snapshots);
  await mkdir(join(home.path, 'sbin'));
  await writeFile(join(snapshots, NAME), snapshotBytes(2));
  await writeFile(join(home.path, 'config.yaml'), `etcd-snapshot-dir: ${snapshots}\n`);
  const program = `#!/bin/sh\nexec ${process.execPath} ${main} "$@"\n`;
  await writeFile(join(home.path, 'etcd-snapshot'), program, { mode: 0o755 });
  for (const shell of ['bash', 'zsh', 'fish']) {
    const { code, stdout, stderr } = await runCommand(['completion', shell]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    await writeFile(join(home.path, shell), stdout);
  }
  await symlink(join(home.path, 'snapshots'), join(home.path, 'link'));
});
afterAll(() => home?.[Symbol.asyncDispose]());

function run(program: string, args: readonly string[]): Promise<string> {
  const env = {
    PATH: `${home.path}:${process.env['PATH'] ?? ''}`,
    HOME: home.path,
    TERM: 'dumb',
    K3S_CONFIG_FILE: join(home.path, 'config.yaml'),
  };
  return new Promise((resolve, reject) => {
    execFile(program, [...args], { cwd: home.path, env, timeout: 60_000 }, (error, stdout, stderr) => {
      if (error === null && stderr === '') resolve(stdout);
      else reject(new Error(`${program}: ${error?.message ?? ''} ${stderr} ${stdout}`));
    });
  });
}

/** What the shell offers for the last word. */
const ways: Readonly<Record<string, (...words: string[]) => Promise<string[]>>> = {
  async bash(...words) {
    // As bash itself does with a line: --flag=value are three words.
    const cut = words.flatMap((word) => word.split(/(=)/));
    if (cut.at(-2) === '=' && cut.at(-1) === '') cut.pop();
    const line = `source bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _etcd_snapshot; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return (await run('bash', ['--norc', '-c', line, 'bash', ...cut])).trim().split('\n');
  },
  async fish(...words) {
    const text = await run('fish', [
      '--no-config',
      '-c',
      'source fish; complete -C $argv[1]',
      words.join(' '),
    ]);
    return text
      .trim()
      .split('\n')
      .map((row) => (row.split('\t')[0] ?? '').replace(/^.*=/, ''));
  },
  async zsh(...words) {
    // Its completion lives in the line editor only, so it gets a terminal of its own; it lists, and inserts nothing.
    const script = `
      zmodload zsh/zpty
      zpty z zsh -f -i
      zpty -w z 'PS1=; autoload -Uz compinit; compinit -u -D; source zsh; LISTMAX=10000; unsetopt zle_bracketed_paste menu_complete auto_menu
        TERM=dumb; zstyle ":completion:*" list-prompt ""; zstyle ":completion:*" insert-tab false
        probe() { compadd() { local -a found; builtin compadd -O found "$@"; print -rl -- "OFFER:"$^found; }; _main_complete; unfunction compadd; print -r -- "THE""END"; exit }
        zle -C probe complete-word probe; bindkey "^I" probe; print -r -- "REA""DY"'
      zpty -r z text "*READY*"
      zpty -w -n z "$1"$'\\t'
      zpty -r z text "*THEEND*"
      print -r -- "$text"`;
    const text = await run('zsh', ['-f', '-c', script, 'zsh', words.join(' ')]);
    return [...text.matchAll(/OFFER:(\S+)/g)].map(([, word = '']) => word.replace(/[:=+]+$/, ''));
  },
};

describe.each(Object.keys(ways))('completion in %s', (shell) => {
  const offers = (...words: string[]) => ways[shell]?.('etcd-snapshot', ...words);

  it('knows the commands', async () => {
    expect(await offers('')).toEqual(
      expect.arrayContaining(['save', 'ls', 'delete', 'prune', 's3', 'operator', 'help']),
    );
  });

  it('knows the flags of a command, and no others', async () => {
    const found = await offers('prune', '--');
    expect(found).toEqual(
      expect.arrayContaining(['--dry-run', '--snapshot-retention', '--s3-bucket', '--config']),
    );
    expect(found).not.toContain('--etcd-cafile');
    expect(found).not.toContain('--all-nodes');
  });

  it('knows both spellings, and flags before the command', async () => {
    expect(await offers('ls', '--etcd-s3-b')).toEqual(expect.arrayContaining(['--etcd-s3-bucket']));
    expect(await offers('--dir')).toEqual(expect.arrayContaining(['--dir']));
  });

  it('knows what a flag may be', async () => {
    expect((await offers('ls', '--output='))?.toSorted()).toEqual(['json', 'table', 'yaml']);
    expect((await offers('ls', '-o', ''))?.toSorted()).toEqual(['json', 'table', 'yaml']);
  });

  it('knows what is done with S3', async () => {
    expect(await offers('s3', '')).toEqual(['check']);
  });

  it.each(['delete', 'verify', 'restore'])('knows the snapshots for %s', async (command) => {
    expect(await offers(command, 'on')).toEqual([NAME]);
  });
});

describe('the manual page', () => {
  it('is clean for every reader of it', async () => {
    const { code, stdout } = await runCommand(['man']);
    expect(code).toBe(0);
    await writeFile(join(home.path, 'page.1'), stdout);
    // It has no date, so that it is made the same every day.
    const complaints = await run('mandoc', ['-T', 'lint', '-W', 'warning', 'page.1']).catch(String);
    expect(
      complaints
        .split('\n')
        .filter((text) => text.includes('mandoc: page.1') && !text.includes('missing date')),
    ).toEqual([]);
    expect(await run('mandoc', ['-T', 'utf8', 'page.1'])).toContain('prune');
  });
});

describe('etcd-snapshot completion', () => {
  it.each([[[]], [['csh']]])('asks for a shell that it knows: %j', async (args) => {
    const { code, stderr } = await runCommand(['completion', ...args]);
    expect(code).toBe(2);
    expect(stderr).toContain('bash, zsh, fish');
  });
});
