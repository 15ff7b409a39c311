import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { toolPath } from '../tools/toolbox.ts';
import { etcdFlags, runCommand } from './command.ts';
import type { EtcdCluster } from './etcd-server.ts';

/** Saves into `dir`, which holds no other snapshot of that name, and returns the path. */
export async function snapshotOf(
  etcd: EtcdCluster,
  dir: string,
  name: string,
  flags: readonly string[] = [],
): Promise<string> {
  const saved = await runCommand([
    'save',
    '--distribution=custom',
    '--node-name=node-1',
    `--name=${name}`,
    `--dir=${dir}`,
    ...flags,
    ...etcdFlags(etcd.settings()),
  ]);
  if (saved.code !== 0) throw new Error(`the save failed:\n${saved.stderr}`);
  const found = (await readdir(dir)).find((file) => file.startsWith(`${name}-`));
  if (found === undefined) throw new Error(`there is no snapshot ${name} in ${dir}`);
  return join(dir, found);
}

/** The flag that names the folder of etcdutl and etcd. */
export async function toolsFlag(): Promise<string> {
  return `--etcd-tools=${dirname(await toolPath('etcdutl'))}`;
}

/** A copy of the bytes of a file with one bit turned at `at`; counted from the end when negative. */
export async function flipped(path: string, at: number): Promise<Buffer> {
  const bytes = await readFile(path);
  const place = at < 0 ? bytes.length + at : at;
  bytes.writeUInt8(bytes.readUInt8(place) ^ 1, place);
  return bytes;
}
