import { promises } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { parseFlags } from '../../src/config/flags.ts';
import { resolveConfig } from '../../src/config/resolve.ts';
import { createEtcdTools } from '../../src/etcd/etcd-tools.ts';
import type { Step } from '../../src/restore/journal.ts';
import type { EtcdTools } from '../../src/restore/ports.ts';
import { runRestore } from '../../src/restore/run-restore.ts';
import { diskCalls } from '../../src/stores/atomic-write.ts';
import { lockFolder } from '../../src/stores/folder-lock.ts';

interface Around {
  readonly onPlan?: (text: string) => void;
  readonly onStep?: (step: Step) => Promise<void>;
  readonly now?: Date;
  readonly tools?: Partial<EtcdTools>;
  readonly signal?: AbortSignal;
  /** Default: the lock of the command. */
  readonly lock?: typeof lockFolder;
}

/** `etcd-snapshot restore` of a file of this node, in this process: something may happen while it works. Agreed to beforehand. */
export async function restoreHere(argv: readonly string[], around: Around = {}): Promise<string | undefined> {
  const machine = { env: {}, hostname: 'node-1', cwd: '/', exists: () => false };
  const config = resolveConfig('restore', parseFlags(['restore', '--yes', ...argv]), machine);
  if (config.restore === undefined) throw new Error('not a restore');
  const parts = {
    order: config.restore,
    snapshot: config.names[0],
    fetch: undefined,
    tools: { ...createEtcdTools({ folder: config.etcdTools, path: '', elsewhere: [] }), ...around.tools },
    active: async () => [],
    lock: around.lock ?? lockFolder,
    now: () => around.now ?? new Date(),
  };
  const dialogue = {
    onPlan: around.onPlan ?? (() => undefined),
    confirm: async () => true,
    onStep: around.onStep ?? (async () => undefined),
  };
  return runRestore(parts, dialogue, around.signal ?? new AbortController().signal);
}

/**
 * What `work` comes to; `died` when it was about to change a name for the n-th time, counted from 0. It is never heard of again
 * then, as if it had been killed there: no more of it runs, no tidying either.
 */
export async function dyingBeforeName(
  n: number,
  work: () => Promise<string | undefined>,
): Promise<string | undefined> {
  const { rename } = promises;
  const death = Promise.withResolvers<'died'>();
  let left = n;
  const dying: typeof rename = async (from, to) => {
    left -= 1;
    if (left >= 0) return rename(from, to);
    death.resolve('died');
    return new Promise(() => undefined);
  };
  const put = (call: typeof rename) => {
    promises.rename = call;
    diskCalls.rename = call;
    syncBuiltinESMExports();
  };
  put(dying);
  try {
    return await Promise.race([work(), death.promise]);
  } finally {
    put(rename);
  }
}
