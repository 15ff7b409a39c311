import type { Config } from '../config/types.ts';
import { abortError, asError } from '../errors.ts';
import { exitCodes } from './exit-codes.ts';
import { openMessages } from './messages.ts';
import type { Terminal } from './root.ts';
import { formatVerified, type Verdict } from './verify-output.ts';

/** `etcd-snapshot verify`: what was found on stdout; 1 when one of the snapshots cannot be restored. */
export async function verify(config: Config, terminal: Terminal, signal: AbortSignal): Promise<number> {
  const { progress, warn, fail } = openMessages(config, terminal);
  warn(config.warnings);
  const { openRecovery } = await import('../recovery.ts');
  const recovery = openRecovery(config, terminal.env, { progress, warn });
  const verdicts: Verdict[] = [];
  for (const given of config.names) {
    try {
      const found = await recovery.verify(given, signal);
      verdicts.push({ given, found });
    } catch (thrown) {
      if (signal.aborted) throw abortError(signal);
      const error = asError(thrown);
      verdicts.push({ given, error });
      fail([error]);
    }
    const verdict = verdicts.at(-1);
    if (config.output === 'table' && verdict !== undefined) {
      terminal.stdout.write(formatVerified([verdict], 'table'));
    }
  }
  if (config.output !== 'table') terminal.stdout.write(formatVerified(verdicts, config.output));
  return verdicts.some((verdict) => 'error' in verdict) ? exitCodes.failed : exitCodes.done;
}
