import type { Config } from '../config/types.ts';
import { abortError, SnapshotError } from '../errors.ts';
import { exitCodes } from './exit-codes.ts';
import { openMessages } from './messages.ts';
import type { Terminal } from './root.ts';

/** `etcd-snapshot delete NAME…`: a line per copy on stderr; 1 when something asked for was not done. */
export async function deleteByName(config: Config, terminal: Terminal, signal: AbortSignal): Promise<number> {
  const { logger, warn, fail } = openMessages(config, terminal);
  const { openApp } = await import('../app.ts');
  await using app = openApp(config, (facts, message) => logger.debug(facts, message));
  const { deleted, notFound, failures, warnings } = await app.removal.delete(config.names, signal);
  for (const { name, store } of deleted) logger.info({ store }, `Snapshot ${name} deleted.`);
  warn([...app.warnings, ...warnings]);
  for (const name of notFound) warn([missing(name, config)]);
  // Trouble with a store as a whole is the same for every name.
  fail([...new Set(failures.map(({ error }) => error))].filter(({ code }) => code !== 'aborted'));
  if (signal.aborted) throw abortError(signal);
  return failures.length + notFound.length === 0 ? exitCodes.done : exitCodes.failed;
}

function missing(name: string, { snapshotDir, s3 }: Config): SnapshotError {
  const s3Too = s3.kind === 'off' ? ', and S3 was not asked' : ', nor on S3';
  return new SnapshotError('not-found', `Snapshot ${name} not found.`, {
    why: `it is not in ${snapshotDir}${s3Too}`,
    hint: 'etcd-snapshot ls shows the names that there are.',
  });
}
