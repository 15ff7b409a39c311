import { describe, expect, it } from 'vitest';
import { createLogger } from './logger.ts';

function logged(debug: boolean): { lines: string[]; logger: ReturnType<typeof createLogger> } {
  const lines: string[] = [];
  const logger = createLogger((line) => lines.push(line), { debug, began: 1000, now: () => 13_999 });
  return { lines, logger };
}

describe('createLogger', () => {
  it('writes lines in the form of k3s, with seconds since the beginning', () => {
    const { lines, logger } = logged(false);
    logger.info({}, 'Snapshot x saved.');
    logger.warn({ size: 12, path: '/a b' }, 'Something');
    logger.error({}, 'Bad');
    expect(lines).toEqual([
      'INFO[0012] Snapshot x saved.\n',
      'WARN[0012] Something size=12 path="/a b"\n',
      'ERRO[0012] Bad\n',
    ]);
  });

  it('writes debug lines only when asked', () => {
    const quiet = logged(false);
    quiet.logger.debug({}, 'detail');
    const verbose = logged(true);
    verbose.logger.debug({}, 'detail');
    expect([quiet.lines, verbose.lines]).toEqual([[], ['DEBU[0012] detail\n']]);
  });

  it('shows no secret', () => {
    const { lines, logger } = logged(false);
    logger.info(
      { secretKey: 'hush', s3: { accessKey: 'hush', password: 'hush' }, token: 'hush' },
      'Settings',
    );
    expect(lines.join('')).not.toContain('hush');
    expect(lines.join('')).toContain('[Redacted]');
  });
});
