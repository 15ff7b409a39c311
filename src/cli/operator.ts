import type { Config } from '../config/types.ts';
import { createJsonLogger } from '../logger.ts';
import { exitCodes } from './exit-codes.ts';
import type { Terminal } from './root.ts';

/** `etcd-snapshot operator`: log lines as JSON on stderr, until a signal ends it or, with `--uninstall`, it is done. */
export async function operator(config: Config, terminal: Terminal, signal: AbortSignal): Promise<number> {
  const logger = createJsonLogger((line) => terminal.stderr.write(line), { debug: config.debug });
  // What is secret hides itself: see `Redacted`.
  logger.info({ config }, 'Starting');
  if (config.skippedKeys !== undefined) logger.info({}, config.skippedKeys);
  for (const { message } of config.warnings) logger.warn({}, message);
  if (config.operator?.uninstall === true) {
    const { uninstallOperator } = await import('../operator/uninstall.ts');
    await uninstallOperator(config, logger, signal);
    return exitCodes.done;
  }
  const { runOperator } = await import('../operator/run-operator.ts');
  await runOperator(config, logger, signal);
  return exitCodes.done;
}
