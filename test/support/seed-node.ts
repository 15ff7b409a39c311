import { copyFile, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import type { EtcdSettings } from '../../src/config/types.ts';
import { toolPath } from '../tools/toolbox.ts';
import type { CommandResult } from './command.ts';
import { programPath } from './programs.ts';

const main = programPath('main');

/**
 * Fills a folder so that commands find a server of K3s there: its data in `k3s`, its configuration in `config.yaml`, and beside
 * them `etcd-snapshot` and the programs of etcd, for the search path.
 */
export async function makeSeedNode(home: string, nodeName: string, etcd: EtcdSettings): Promise<void> {
  const server = join(home, 'k3s/server');
  const tls = join(server, 'tls/etcd');
  await mkdir(tls, { recursive: true });
  await mkdir(join(server, 'db'));
  await writeFile(join(server, 'token'), 'K10::server:secret\n');
  const { caFile = '', certFile = '', keyFile = '', endpoints } = etcd;
  await copyFile(caFile, join(tls, 'server-ca.crt'));
  await copyFile(certFile, join(tls, 'client.crt'));
  await copyFile(keyFile, join(tls, 'client.key'));
  // What this node has otherwise than a server of K3s: its folder, its name, and the port of etcd.
  const config = { 'data-dir': join(home, 'k3s'), 'node-name': nodeName, 'etcd-servers': endpoints };
  await writeFile(join(home, 'config.yaml'), stringify(config));
  await writeFile(join(home, 'etcd-snapshot'), `#!/bin/sh\nexec ${process.execPath} ${main} "$@"\n`, {
    mode: 0o755,
  });
  for (const tool of ['etcd', 'etcdutl'] as const) await symlink(await toolPath(tool), join(home, tool));
}

/** Names of the snapshots that a command says it has saved; one that went to two places is there twice. */
export function savedNames({ stderr }: CommandResult): string[] {
  return [...stderr.matchAll(/Snapshot (\S+) saved\./g)].map(([, name = '']) => name);
}
