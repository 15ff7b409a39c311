import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import type { Config } from '../config/types.ts';
import { SnapshotError } from '../errors.ts';
import { openMessages } from './messages.ts';

const error = new SnapshotError('tls', 'No way to S3', { why: 'its \u001bcertificate', hint: 'Renew it.' });

/** What stands on stderr after a command of each kind of message. */
function written(
  wishes: Partial<Config>,
  { isTTY = true, env = {} }: { isTTY?: boolean; env?: Record<string, string> } = {},
): string {
  const stderr = Object.assign(new PassThrough(), { isTTY });
  const config = { debug: false, quiet: false, progress: 'auto', skippedKeys: undefined, ...wishes } as const;
  const messages = openMessages(config, { stdout: new PassThrough(), stderr, env });
  messages.progress.show({ store: 'local', bytes: 5, total: 10 });
  messages.progress.show({ store: 's3', bytes: 1, total: undefined });
  messages.progress.clear();
  messages.logger.info({ size: 10 }, 'Snapshot saved.');
  messages.warn([error]);
  messages.fail([error]);
  return String(stderr.read() ?? '');
}

const lines = (text: string) => text.trim().split('\n');

describe('openMessages', () => {
  it('colours the level, and draws a bar, on a terminal', () => {
    const text = written({});
    expect(text).toContain('disk 0.0 MB');
    expect(text).toContain('\u001b[36mINFO\u001b[39m[0000] Snapshot saved. size=10');
    expect(text).toContain('\u001b[33mWARN\u001b[39m');
    expect(text).toContain('\u001b[31mERRO\u001b[39m');
  });

  it.each([
    ['NO_COLOR is set', { env: { NO_COLOR: '1' } }, true],
    ['the terminal is dumb', { env: { TERM: 'dumb' } }, false],
    ['it is no terminal', { isTTY: false }, false],
  ])('has no colours when %s', (_why, around, bar) => {
    const text = written({}, around);
    for (const level of ['INFO', 'WARN', 'ERRO']) expect(text).toContain(`${level}[0000] `);
    expect(text).not.toContain('\u001b[3');
    expect(text.includes('disk')).toBe(bar);
  });

  it('takes an empty NO_COLOR for none', () => {
    expect(written({}, { env: { NO_COLOR: '' } })).toContain('\u001b[36m');
  });

  it('draws no bar with --progress=none', () => {
    expect(written({ progress: 'none' })).not.toContain('disk');
  });

  it('tells only what is wrong with --quiet', () => {
    const text = written({ quiet: true, skippedKeys: 'Skipped: x' }, { isTTY: false });
    expect(lines(text).filter((line) => !line.startsWith(' '))).toEqual([
      'WARN[0000] No way to S3',
      'ERRO[0000] No way to S3',
    ]);
    expect(lines(written({ quiet: true, progress: 'json' }))).toHaveLength(2);
  });

  it('begins with the keys that were skipped', () => {
    expect(lines(written({ skippedKeys: 'Skipped: x' }, { isTTY: false }))[0]).toBe('INFO[0000] Skipped: x');
  });

  it('writes an object per line with --progress=json, for progress and everything else', () => {
    const parsed = lines(written({ progress: 'json', skippedKeys: 'Skipped: x' })).map((line) =>
      JSON.parse(line),
    );
    const time = expect.stringMatching(/^\d{4}-.*Z$/);
    const problem = { msg: 'No way to S3', code: 'tls', why: 'its ?certificate', hint: 'Renew it.' };
    expect(parsed).toEqual([
      { level: 'info', time, msg: 'Skipped: x' },
      { level: 'info', time, msg: 'Progress', progress: { store: 'local', bytes: 5, total: 10 } },
      { level: 'info', time, msg: 'Progress', progress: { store: 's3', bytes: 1 } },
      { level: 'info', time, msg: 'Snapshot saved.', size: 10 },
      { level: 'warn', time, ...problem },
      { level: 'error', time, ...problem },
    ]);
  });
});
