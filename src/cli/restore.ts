import { createInterface } from 'node:readline/promises';
import type { Config } from '../config/types.ts';
import { SnapshotError } from '../errors.ts';
import { printable } from './error-text.ts';
import { exitCodes } from './exit-codes.ts';
import { openMessages } from './messages.ts';
import type { Terminal } from './root.ts';

/** `etcd-snapshot restore`: plan and outcome on stdout, what is going on on stderr. */
export async function restore(config: Config, terminal: Terminal, signal: AbortSignal): Promise<number> {
  const { logger, progress, warn } = openMessages(config, terminal);
  warn(config.warnings);
  const { openRecovery } = await import('../recovery.ts');
  const order = config.restore;
  if (order === undefined) throw new Error('there is no order to restore');
  const outcome = await openRecovery(config, terminal.env, { progress, warn }).restore(
    order,
    {
      onPlan: (text) => void terminal.stdout.write(`${printable(text)}\n`),
      confirm: () => ask(terminal, signal),
      onStep: (step) => logger.info({}, `Step ${step}`),
    },
    signal,
  );
  if (outcome !== undefined) terminal.stdout.write(printable(outcome));
  if (outcome === undefined && !order.dryRun) logger.info({}, 'Nothing was changed.');
  return outcome !== undefined || order.dryRun ? exitCodes.done : exitCodes.failed;
}

async function ask(terminal: Terminal, signal: AbortSignal): Promise<boolean> {
  const { stdin } = terminal;
  if (stdin?.isTTY !== true) {
    throw new SnapshotError('usage', 'Nobody can be asked whether the restore may begin', {
      why: 'the input is no terminal',
      hint: 'Read the plan, and run the same command with --yes.',
    });
  }
  const reader = createInterface({ input: stdin, output: terminal.stderr });
  try {
    const answer = await reader.question('Write yes to begin: ', { signal });
    return answer.trim().toLowerCase() === 'yes';
  } finally {
    reader.close();
  }
}
