import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type CommandResult, runCommand } from './command.ts';
import { scratchDir } from './scratch.ts';
import { toolsFlag } from './snapshot-of.ts';

/** The folders of a K3s or RKE2 server that was stopped. */
export interface RancherServer extends AsyncDisposable {
  /** Its server folder. */
  readonly root: string;
  readonly flags: readonly string[];
  /** `etcd-snapshot restore` on it. */
  run(args: readonly string[], env?: Record<string, string>): Promise<CommandResult>;
  read(path: string): Promise<string>;
}

export async function rancherServer(password: string, distribution = 'k3s'): Promise<RancherServer> {
  const scratch = await scratchDir('k3s-');
  const root = join(scratch.path, 'server');
  for (const folder of ['db/etcd/member', 'db/snapshots', 'tls/etcd', 'cred']) {
    await mkdir(join(root, folder), { recursive: true });
  }
  await writeFile(join(root, 'db/etcd/name'), 'server-1-00000000');
  await writeFile(join(root, 'tls/server-ca.crt'), 'of today');
  await writeFile(join(root, 'cred/passwd'), 'of today');
  await writeFile(join(root, 'token'), `${password}\n`);
  const flags = [
    `--distribution=${distribution}`,
    `--data-dir=${scratch.path}`,
    '--node-name=server-1',
    await toolsFlag(),
  ];
  return {
    root,
    flags,
    run: (args, env) => runCommand(['restore', ...flags, '--peer-url=https://10.0.0.1:2380', ...args], env),
    read: (path) => readFile(join(root, path), 'utf8'),
    [Symbol.asyncDispose]: () => scratch[Symbol.asyncDispose](),
  };
}
