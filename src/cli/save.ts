import type { Config } from '../config/types.ts';
import { isSnapshotError } from '../errors.ts';
import { createLogger } from '../logger.ts';
import { locationUrl, type Snapshot } from '../snapshot/snapshot.ts';
import { describeError } from './error-text.ts';
import { exitCodes } from './exit-codes.ts';
import { createProgress } from './progress.ts';
import type { Terminal } from './root.ts';

/** `etcd-snapshot save`: progress and log lines on stderr, nothing on stdout. */
export async function save(config: Config, terminal: Terminal, signal: AbortSignal): Promise<number> {
  const write = (line: string) => terminal.stderr.write(line);
  const logger = createLogger(write, { debug: config.debug, began: Date.now(), now: Date.now });
  const { openApp } = await import('../app.ts');
  await using app = openApp(config, (facts, message) => logger.debug(facts, message));
  const progress = createProgress(terminal.stderr, Date.now);
  const warn = (warnings: readonly Error[]) => {
    for (const warning of warnings) logger.warn({}, describeError(warning, config.debug));
  };
  const onStored = (snapshot: Snapshot) => {
    progress.clear();
    const facts = { location: locationUrl(snapshot.location), size: snapshot.size };
    logger.info(facts, `Snapshot ${snapshot.name} saved.`);
  };
  const result = await app
    .save({ onProgress: (step) => progress.show(step), onStored }, signal)
    .finally(() => progress.clear())
    .catch((error: unknown) => {
      if (isSnapshotError(error)) warn(error.besides);
      throw error;
    });
  warn(result.warnings);
  for (const failure of result.failures) logger.error({}, describeError(failure, config.debug));
  return result.failures.length === 0 ? exitCodes.done : exitCodes.notEverywhere;
}
