import type { Config } from '../config/types.ts';
import { abortError, asError, isSnapshotError } from '../errors.ts';
import { createLogger } from '../logger.ts';
import { describeError } from './error-text.ts';
import { exitCodes } from './exit-codes.ts';
import type { Terminal } from './root.ts';
import { formatVerified, type Verdict } from './verify-output.ts';

/** `etcd-snapshot verify`: what was found on stdout; 1 when one of the snapshots cannot be restored. */
export async function verify(config: Config, terminal: Terminal, signal: AbortSignal): Promise<number> {
  const write = (line: string) => terminal.stderr.write(line);
  const logger = createLogger(write, { debug: config.debug, began: Date.now(), now: Date.now });
  const { openRecovery } = await import('../recovery.ts');
  const recovery = openRecovery(config, terminal.env);
  const verdicts: Verdict[] = [];
  for (const given of config.names) {
    try {
      const found = await recovery.verify(given, signal);
      verdicts.push({ given, found });
    } catch (thrown) {
      if (signal.aborted) throw abortError(signal);
      const error = asError(thrown);
      verdicts.push({ given, error });
      logger.error({}, describeError(error, config.debug || !isSnapshotError(error)));
    }
    const verdict = verdicts.at(-1);
    if (config.output === 'table' && verdict !== undefined) {
      terminal.stdout.write(formatVerified([verdict], 'table'));
    }
  }
  if (config.output !== 'table') terminal.stdout.write(formatVerified(verdicts, config.output));
  return verdicts.some((verdict) => 'error' in verdict) ? exitCodes.failed : exitCodes.done;
}
