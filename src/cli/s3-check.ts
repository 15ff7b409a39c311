import { stringify } from 'yaml';
import type { Config } from '../config/types.ts';
import { isSnapshotError } from '../errors.ts';
import { type CheckedStep, formatPolicy, isSound, type StoreCheck } from '../snapshot/store-check.ts';
import { printable } from './error-text.ts';
import { exitCodes } from './exit-codes.ts';
import { openMessages } from './messages.ts';
import type { Terminal } from './root.ts';

/**
 * `etcd-snapshot s3 check`: the steps on stdout, as they are done, or with `--quiet` those that are worth a word; 1 when one of them
 * has failed, or something was left behind.
 */
export async function s3Check(config: Config, terminal: Terminal, signal: AbortSignal): Promise<number> {
  const { logger, warn } = openMessages(config, terminal);
  const { openApp } = await import('../app.ts');
  await using app = openApp(config, (facts, message) => logger.debug(facts, message));
  const onStep = (step: CheckedStep) => {
    const shown = !config.quiet || step.outcome === 'warn' || step.outcome === 'fail';
    if (config.output === 'table' && shown) terminal.stdout.write(formatStep(step));
  };
  const { check, warnings } = await app.checkS3(onStep, signal).catch((error: unknown) => {
    if (isSnapshotError(error)) warn(error.besides);
    throw error;
  });
  warn(warnings);
  const good = isSound(check) && check.left.length === 0;
  if (config.output !== 'table') terminal.stdout.write(formatCheck(check, config.output));
  else if (!good || !config.quiet) terminal.stdout.write(formatVerdict(check));
  return good ? exitCodes.done : exitCodes.failed;
}

/** Words of the same width, so that the columns stand. */
const OUTCOMES = { pass: 'pass', warn: 'warn', fail: 'FAIL', skip: 'skip' } as const;

function formatStep({ outcome, step, says, cure }: CheckedStep): string {
  const line = `${OUTCOMES[outcome]}  ${step.padEnd(18)}  ${says}\n`;
  return printable(cure === undefined ? line : `${line}${' '.repeat(26)}do: ${cure}\n`);
}

function formatVerdict(check: StoreCheck): string {
  const { target, steps, left, policy } = check;
  const { bucket, endpoint, folder, proxy } = target;
  const failed = steps.filter(({ outcome }) => outcome === 'fail');
  const where = `bucket ${bucket} at ${endpoint}, ${folder === '' ? 'no folder' : `folder ${folder}`}`;
  const verdict = failed.length === 0 ? 'good' : 'not good';
  const lines = [
    ...left.map((what) => `left behind: ${what}`),
    `${verdict} for snapshots: ${where}${proxy === undefined ? '' : `, through ${proxy}`}`,
  ];
  // Who has another trouble has no use for it.
  if (failed.every(({ cause }) => cause === 'missing-right' || cause === 'object-lock')) {
    lines.push('', 'The least that the keys must be allowed:', formatPolicy(policy));
  }
  return printable(`\n${lines.join('\n')}\n`);
}

/** What programs read. */
function formatCheck(check: StoreCheck, format: 'json' | 'yaml'): string {
  const { target, steps, left, policy } = check;
  const shown = { ok: isSound(check), ...target, proxy: target.proxy ?? null, steps, left, policy };
  return format === 'json'
    ? `${JSON.stringify(shown, undefined, 4)}\n`
    : stringify(shown, { schema: 'yaml-1.1' });
}
