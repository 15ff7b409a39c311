import type { Config } from '../config/types.ts';
import { isSnapshotError } from '../errors.ts';
import { locationUrl, type Snapshot } from '../snapshot/snapshot.ts';
import { exitCodes } from './exit-codes.ts';
import { openMessages } from './messages.ts';
import type { Terminal } from './root.ts';

/** `etcd-snapshot save`: progress and log lines on stderr, nothing on stdout. */
export async function save(config: Config, terminal: Terminal, signal: AbortSignal): Promise<number> {
  const { logger, progress, warn, fail } = openMessages(config, terminal);
  const { openApp } = await import('../app.ts');
  await using app = openApp(config, (facts, message) => logger.debug(facts, message));
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
  fail(result.failures);
  return result.failures.length === 0 ? exitCodes.done : exitCodes.notEverywhere;
}
