import { cp, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createEtcdSource } from '../../src/etcd/snapshot-source.ts';
import { runCommand } from './command.ts';
import { startEtcd } from './etcd-server.ts';
import { scratchDir } from './scratch.ts';

/**
 * A node whose etcd was stopped, for `etcd-snapshot restore` to work on.
 * @param data what the member left, which is copied
 * @param tools the flag that says where etcd's programs are
 * @param where the folder around its data folder; a scratch folder, gone at the end, unless given
 */
export async function stoppedNode(data: string, tools: string, where?: string) {
  const scratch = where === undefined ? await scratchDir('node-') : undefined;
  const folder = where ?? scratch?.path ?? '';
  const dataDir = join(folder, 'etcd');
  await cp(data, dataDir, { recursive: true });
  const flags = ['--distribution=custom', `--data-dir=${dataDir}`, tools];
  return {
    folder,
    dataDir,
    flags,
    run: (args: readonly string[], env: Record<string, string> = {}) =>
      runCommand(['restore', ...flags, ...args], env),
    names: async () => (await readdir(folder)).sort(),
    [Symbol.asyncDispose]: async () => scratch?.[Symbol.asyncDispose](),
  };
}

/** What etcd finds in a data folder under the keys `early` and `late`. */
export async function contentOf(dataDir: string) {
  await using again = await startEtcd({ dataDir });
  const [early, late] = await Promise.all([again.get('early'), again.get('late')]);
  return { early: early?.toString(), late: late?.toString() };
}

/** Of the member of a data folder: it is made of its address and the token of its cluster. */
export async function memberIdOf(dataDir: string): Promise<string> {
  await using again = await startEtcd({ dataDir });
  const source = createEtcdSource(again.settings(), { now: () => new Date() });
  try {
    return (await source.status(AbortSignal.timeout(20_000))).memberId;
  } finally {
    source.close();
  }
}
