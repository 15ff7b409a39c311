import { mkdtemp, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { RestoreOrder } from './config/restore-settings.ts';
import type { Config } from './config/types.ts';
import { createEtcdTools } from './etcd/etcd-tools.ts';
import { download, locate, lookUp } from './fetch-snapshot.ts';
import { systemdServices } from './init-system.ts';
import { type RestoreDialogue, runRestore } from './restore/run-restore.ts';
import { type VerifiedSnapshot, verifySnapshot } from './restore/verify-snapshot.ts';
import { lockFolder } from './stores/folder-lock.ts';

/** What works on snapshots that exist, without an etcd: the commands' view of it. */
export interface Recovery {
  /** @param given a path, a name, or `s3://bucket/key` @throws SnapshotError what is wrong with it */
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
      const { tempDir } = config;
      const where = await locate(given, config);
      if (where.store === 'local') return verifySnapshot(where.path, { tools, tempDir }, signal);
      const folder = await mkdtemp(join(tempDir, 'etcd-snapshot-download-'));
      try {
        const path = await download(where, folder, config, signal);
        return { ...(await verifySnapshot(path, { tools, tempDir }, signal)), path: where.url };
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    },
    async restore(order, dialogue, signal) {
      const [given] = config.names;
      const where = given === undefined ? undefined : await locate(given, config);
      const path = where?.store === 's3' ? join(config.snapshotDir, where.name) : where?.path;
      const fetch =
        where?.store === 's3'
          ? {
              url: where.url,
              lookUp: (inner: AbortSignal) => lookUp(where, config, inner),
              download: (inner: AbortSignal) => download(where, config.snapshotDir, config, inner),
            }
          : undefined;
      const active = systemdServices(env['PATH'] ?? '');
      return runRestore(
        { order, snapshot: path, fetch, tools, active, lock: lockFolder, now: () => new Date() },
        dialogue,
        signal,
      );
    },
  };
}
