import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { RestoreOrder } from './config/restore-settings.ts';
import type { Config } from './config/types.ts';
import { SnapshotError } from './errors.ts';
import { createEtcdTools } from './etcd/etcd-tools.ts';
import { type RestoreDialogue, runRestore } from './restore/run-restore.ts';
import { type VerifiedSnapshot, verifySnapshot } from './restore/verify-snapshot.ts';

/** What works on snapshots that exist, without an etcd: the commands' view of it. */
export interface Recovery {
  /** @param given a path, or a name in the snapshot folder @throws SnapshotError what is wrong with it */
  verify(given: string, signal: AbortSignal): Promise<VerifiedSnapshot>;
  /**
   * Restores, rejoins or rolls back, as the order says.
   * @returns what was done and what is to be done next, in words; undefined when it was only a look, or nobody agreed
   * @throws SnapshotError with everything that stands in the way, or what went wrong and how to go on
   */
  restore(order: RestoreOrder, dialogue: RestoreDialogue, signal: AbortSignal): Promise<string | undefined>;
}

/** Puts the real parts of `verify` together. */
export function openRecovery(config: Config, env: Readonly<Record<string, string | undefined>>): Recovery {
  const beside = dirname(fileURLToPath(import.meta.url));
  const tools = createEtcdTools({
    folder: config.etcdTools,
    path: env['PATH'] ?? '',
    elsewhere: [join(beside, '../libexec'), '/usr/local/lib/etcd-snapshot', '/usr/local/bin'],
  });
  return {
    async verify(given, signal) {
      return verifySnapshot(await pathOf(given, config), { tools, tempDir: config.tempDir }, signal);
    },
    async restore(order, dialogue, signal) {
      const [given] = config.names;
      const snapshot = given === undefined ? undefined : await pathOf(given, config);
      return runRestore({ order, snapshot, tools, now: () => new Date() }, dialogue, signal);
    },
  };
}

/**
 * A word with a slash is a path; one without is a name in the snapshot folder, or else a file of the working directory.
 * @throws SnapshotError `usage` when it could be either of two files
 */
async function pathOf(given: string, config: Config): Promise<string> {
  const here = resolve(given);
  if (given.includes('/')) return here;
  const inFolder = join(config.snapshotDir, given);
  if (here === inFolder || !(await exists(inFolder))) return here;
  if (!(await exists(here))) return inFolder;
  const [one, other] = await Promise.all([stat(here), stat(inFolder)]);
  if (one.dev === other.dev && one.ino === other.ino) return inFolder;
  throw new SnapshotError('usage', `${given} could be either of two files`, {
    why: `there is ${inFolder}, and ${here} in the working directory`,
    hint: 'Give the path of the one that is meant.',
  });
}

function exists(path: string): Promise<boolean> {
  return access(path, constants.F_OK).then(
    () => true,
    () => false,
  );
}
