import type { Config } from '../config/types.ts';
import { abortError } from '../errors.ts';
import { createLogger } from '../logger.ts';
import { describeError } from './error-text.ts';
import { exitCodes } from './exit-codes.ts';
import { formatSnapshots } from './output.ts';
import type { Terminal } from './root.ts';

/**
 * `etcd-snapshot ls`: the list on stdout; 1 when a store could not be listed, after showing the others.
 * @throws SnapshotError `aborted`: half a list never passes for a list
 */
export async function list(config: Config, terminal: Terminal, signal: AbortSignal): Promise<number> {
  const write = (line: string) => terminal.stderr.write(line);
  const logger = createLogger(write, { debug: config.debug, began: Date.now(), now: Date.now });
  const { openApp } = await import('../app.ts');
  await using app = openApp(config, (facts, message) => logger.debug(facts, message));
  const { snapshots, failures, warnings } = await app.list(signal);
  if (signal.aborted) throw abortError(signal);
  const program = config.distribution === 'rke2' ? 'rke2' : 'k3s';
  terminal.stdout.write(formatSnapshots(snapshots, config.output, program));
  for (const warning of warnings) logger.warn({}, describeError(warning, config.debug));
  for (const failure of failures) logger.error({}, describeError(failure, config.debug));
  return failures.length === 0 ? exitCodes.done : exitCodes.failed;
}
