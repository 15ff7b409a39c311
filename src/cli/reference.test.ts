import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { options } from '../config/options.ts';
import { helpOf, overview } from './help.ts';
import { cliReference } from './reference.ts';

describe('cliReference', () => {
  it('is what docs/cli.md holds: else run node scripts/docs.ts', () => {
    expect(readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8')).toBe(cliReference());
  });

  it.each(options.map((option) => option.flag))('tells of --%s, and so does the help', (flag) => {
    expect(cliReference()).toContain(`\`--${flag}\``);
    expect(helpOf('save') + helpOf('ls') + helpOf('verify') + helpOf('restore') + helpOf('operator')).toMatch(
      new RegExp(`--${flag}\\b`),
    );
  });
});

describe('help', () => {
  it('shows only the flags of the command', () => {
    expect(helpOf('ls')).not.toContain('--etcd-cafile');
    expect(helpOf('save')).not.toContain('--output');
  });

  it.each([
    ['overview', overview()],
    ['save', helpOf('save')],
    ['ls', helpOf('ls')],
    ['verify', helpOf('verify')],
    ['restore', helpOf('restore')],
    ['operator', helpOf('operator')],
  ])('of %s has usage, examples and exit codes', (_page, text) => {
    expect(text).toContain('Usage: etcd-snapshot');
    expect(text).toContain('Examples:');
    expect(text).toContain('130  interrupted');
  });
});
