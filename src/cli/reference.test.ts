import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { commandWords, options } from '../config/options.ts';
import { completionFor } from './completion.ts';
import { helpOf, overview } from './help.ts';
import { manPage } from './man-page.ts';
import { cliReference, s3SettingsTable } from './reference.ts';

const commands = [...new Set(Object.values(commandWords))];

describe('cliReference', () => {
  it('is what docs/cli.md holds: else run node scripts/docs.ts', () => {
    expect(readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8')).toBe(cliReference());
  });

  it('gives docs/s3.md its table of settings: else run node scripts/docs.ts', () => {
    expect(readFileSync(new URL('../../docs/s3.md', import.meta.url), 'utf8')).toContain(s3SettingsTable());
  });

  it('has a manual page beside it', () => {
    expect(readFileSync(new URL('../../docs/etcd-snapshot.1', import.meta.url), 'utf8')).toBe(manPage());
  });

  it.each(options.map((option) => option.flag))(
    'tells of --%s, and so do help, manual and completion',
    (flag) => {
      expect(manPage()).toContain(`\\-\\-${flag.replaceAll('-', '\\-')}`);
      expect(completionFor('bash')).toMatch(new RegExp(`--${flag}\\b`));
      expect(completionFor('zsh')).toContain(`--${flag}`);
      expect(completionFor('fish')).toContain(`-l ${flag} `);
      expect(cliReference()).toContain(`\`--${flag}\``);
      expect(commands.map(helpOf).join('')).toMatch(new RegExp(`--${flag}\\b`));
    },
  );
});

describe('help', () => {
  it('shows only the flags of the command', () => {
    expect(helpOf('ls')).not.toContain('--etcd-cafile');
    expect(helpOf('save')).not.toContain('--output');
  });

  it.each([['overview', overview()], ...commands.map((command) => [command, helpOf(command)])])(
    'of %s has usage, examples and exit codes',
    (_page, text) => {
      expect(text).toContain('Usage: etcd-snapshot');
      expect(text).toContain('Examples:');
      expect(text).toContain('130  interrupted');
    },
  );
});
