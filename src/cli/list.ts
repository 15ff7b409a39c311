import type { Config } from '../config/types.ts';
import { abortError } from '../errors.ts';
import { exitCodes } from './exit-codes.ts';
import { openMessages } from './messages.ts';
import { formatRecords, formatSnapshots } from './output.ts';
import type { Terminal } from './root.ts';

/**
 * `etcd-snapshot ls`: the list on stdout; 1 when a store could not be listed, after showing the others. With `--all-nodes`
 * what the records in the cluster tell, without a look into folder or bucket.
 * @throws SnapshotError `aborted`: half a list never passes for a list
 */
export async function list(config: Config, terminal: Terminal, signal: AbortSignal): Promise<number> {
  const { logger, warn, fail } = openMessages(config, terminal);
  const { openApp } = await import('../app.ts');
  await using app = openApp(config, (facts, message) => logger.debug(facts, message));
  const program = config.distribution === 'rke2' ? 'rke2' : 'k3s';
  if (config.allNodes) {
    const records = await app.records(signal);
    terminal.stdout.write(formatRecords(records, config.output, program));
    warn(app.warnings);
    return exitCodes.done;
  }
  const { snapshots, failures, warnings } = await app.list(signal);
  if (signal.aborted) throw abortError(signal);
  // Of a place that could not be listed nobody knows what is only elsewhere.
  const compared = config.s3.kind !== 'off' && failures.length === 0 ? config.nodeName : undefined;
  terminal.stdout.write(formatSnapshots(snapshots, config.output, program, compared));
  warn(warnings);
  fail(failures);
  return failures.length === 0 ? exitCodes.done : exitCodes.failed;
}
