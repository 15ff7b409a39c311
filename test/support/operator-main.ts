import { existsSync } from 'node:fs';
import { parseFlags } from '../../src/config/flags.ts';
import { resolveConfig } from '../../src/config/resolve.ts';
import { createJsonLogger } from '../../src/logger.ts';
import { runOperator } from '../../src/operator/run-operator.ts';
import type { OperatorTuning } from '../../src/operator/tuning.ts';
import { systemTimers, type Timers } from '../../src/timers.ts';

export interface OddClock {
  /** How wrong the clock on the wall is, for everything in the process. */
  readonly offMs?: number;
  /** How many times as fast as usual time passes for the operator; its servers know nothing of it. */
  readonly speed?: number;
}

/**
 * The operator as its command runs it, but with times that a test can wait for: TUNING holds them as JSON, and CLOCK what
 * is odd about its clock.
 */
const stop = new AbortController();
process.on('SIGTERM', () => stop.abort());
const config = resolveConfig('operator', parseFlags(['operator', ...process.argv.slice(2)]), {
  env: process.env,
  hostname: 'unused',
  cwd: process.cwd(),
  exists: existsSync,
});
const logger = createJsonLogger((line) => process.stderr.write(line), { debug: true });
const tuning: OperatorTuning = JSON.parse(process.env['TUNING'] ?? '{}');
const { offMs = 0, speed = 1 }: OddClock = JSON.parse(process.env['CLOCK'] ?? '{}');
if (offMs !== 0) globalThis.Date = dateOffBy(offMs);
await runOperator(config, logger, stop.signal, { ...tuning, timers: timersAt(speed) });

function timersAt(pace: number): Timers {
  if (pace === 1) return systemTimers;
  const began = { now: Date.now(), monotonic: performance.now() };
  const passed = () => (performance.now() - began.monotonic) * pace;
  return {
    now: () => new Date(began.now + passed()),
    monotonic: passed,
    after: (ms, run) => systemTimers.after(ms / pace, run),
  };
}

function dateOffBy(ms: number): DateConstructor {
  return new Proxy(Date, {
    construct: (target, args, newTarget) =>
      Reflect.construct(target, args.length === 0 ? [target.now() + ms] : args, newTarget),
    get: (target, key) => (key === 'now' ? () => target.now() + ms : Reflect.get(target, key)),
  });
}
