import { stringify } from 'yaml';
import type { Config } from '../config/types.ts';
import { isSnapshotError } from '../errors.ts';
import { createLogger } from '../logger.ts';
import { type CheckedStep, formatPolicy, isSound, type StoreCheck } from '../snapshot/store-check.ts';
import { describeError, printable } from './error-text.ts';
import { exitCodes } from './exit-codes.ts';
import type { Terminal } from './root.ts';

/** `etcd-snapshot s3 check`: the steps on stdout, as they are done; 1 when one of them has failed. */
export async function s3Check(config: Config, terminal: Terminal, signal: AbortSignal): Promise<number> {
  const logger = createLogger((line) => terminal.stderr.write(line), {
    debug: config.debug,
    began: Date.now(),
    now: Date.now,
  });
  const warn = (warnings: readonly Error[]) => {
    for (const warning of warnings) logger.warn({}, describeError(warning, config.debug));
  };
  const { openApp } = await import('../app.ts');
  await using app = openApp(config, (facts, message) => logger.debug(facts, message));
  const onStep = (step: CheckedStep) => {
    if (config.output === 'table') terminal.stdout.write(formatStep(step));
  };
  const { check, warnings } = await app.checkS3(onStep, signal).catch((error: unknown) => {
    if (isSnapshotError(error)) warn(error.besides);
    throw error;
  });
  warn(warnings);
  terminal.stdout.write(config.output === 'table' ? formatVerdict(check) : formatCheck(check, config.output));
  return isSound(check) ? exitCodes.done : exitCodes.failed;
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
