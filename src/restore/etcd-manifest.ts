import { readdir, readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type Document, isMap, isScalar, isSeq, parseDocument, type YAMLSeq } from 'yaml';
import type { RestoreOrder } from '../config/restore-settings.ts';
import { asError, SnapshotError, systemCode } from '../errors.ts';
import { exists } from './files.ts';
import { quoted } from './shell.ts';

export const ETCD_POD = 'etcd.yaml';

/** The order, with what the manifest says of the member where the user said nothing. @throws SnapshotError `corrupt` */
export async function withManifest(order: RestoreOrder): Promise<RestoreOrder> {
  if (order.manifestDir === undefined) return order;
  const found = await readFlags(order.manifestDir);
  if (found === undefined) return order;
  const { path, flags } = found;
  // The default may be another folder, which nobody would miss.
  if (!order.dataDirGiven && !flags.has('data-dir')) throw notRead(path, 'it gives etcd no --data-dir=…');
  return {
    ...order,
    dataDir: order.dataDirGiven ? order.dataDir : (flags.get('data-dir') ?? order.dataDir),
    member: order.member ?? flags.get('name'),
    peerUrl: order.peerUrl ?? flags.get('initial-advertise-peer-urls')?.split(',')[0],
  };
}

/** How `etcdctl` reaches the etcd of this node, as words of a shell; undefined without a manifest. */
export async function etcdctlOf({ manifestDir }: RestoreOrder): Promise<string | undefined> {
  const found = manifestDir === undefined ? undefined : await readFlags(manifestDir);
  if (found === undefined) return undefined;
  const { flags } = found;
  const words = [
    ['endpoints', flags.get('listen-client-urls')?.split(',')[0]],
    ['cacert', flags.get('trusted-ca-file')],
    ['cert', flags.get('cert-file')],
    ['key', flags.get('key-file')],
  ].flatMap(([name, value]) => (value === undefined ? [] : [` ${quoted(`--${name}=${value}`)}`]));
  return `etcdctl${words.join('')}`;
}

/**
 * Flags of etcd; a restore that was cut off may have the manifest in a folder of its own. Undefined when there is none.
 * @throws SnapshotError `corrupt`
 */
async function readFlags(
  folder: string,
): Promise<{ readonly path: string; readonly flags: ReadonlyMap<string, string> } | undefined> {
  for (const where of [folder, ...(await awayFolders(folder))]) {
    const path = join(where, ETCD_POD);
    const text = await readFile(path, 'utf8').catch((error: unknown) => {
      if (systemCode(error) !== 'ENOENT') throw error;
    });
    if (text === undefined) continue;
    const flags = new Map<string, string>();
    for (const word of commandOf(path, readable(path, text)).items) {
      const [, name, value] = /^--([a-z-]+)=(.*)$/s.exec(textOf(word)) ?? [];
      if (name !== undefined && value !== undefined) flags.set(name, value);
    }
    return { path, flags };
  }
  return undefined;
}

/** Where manifests were moved to, the latest first. */
async function awayFolders(folder: string): Promise<string[]> {
  const parent = dirname(folder);
  if (!(await exists(parent))) return [];
  const prefix = `${basename(folder)}-restore-`;
  return (await readdir(parent))
    .filter((name) => name.startsWith(prefix) && /^\d+$/.test(name.slice(prefix.length)))
    .sort()
    .reverse()
    .map((name) => join(parent, name));
}

/** The manifest of a member that joins others instead of founding a cluster of its own. @throws SnapshotError `corrupt` */
export async function joiningManifest(path: string, initialCluster: string): Promise<string> {
  const document = readable(path, await readFile(path, 'utf8'));
  const command = commandOf(path, document);
  command.items = command.items.filter((word) => !/^--initial-cluster(?:-state)?=/.test(textOf(word)));
  command.add(`--initial-cluster=${initialCluster}`);
  command.add('--initial-cluster-state=existing');
  try {
    return document.toString({ lineWidth: 0 });
  } catch (error) {
    throw notRead(path, asError(error).message);
  }
}

function readable(path: string, text: string): Document {
  const document = parseDocument(text);
  const [broken] = document.errors;
  if (broken !== undefined) throw notRead(path, broken.message);
  return document;
}

/** The words that start etcd, wherever they stand. @throws SnapshotError `corrupt` */
function commandOf(path: string, document: Document): YAMLSeq {
  const containers = document.getIn(['spec', 'containers']);
  for (const container of isSeq(containers) ? containers.items : []) {
    for (const name of ['command', 'args']) {
      const words = isMap(container) ? container.get(name) : undefined;
      if (isSeq(words) && words.items.some((word) => /^--(?:data-dir|name)=/.test(textOf(word))))
        return words;
    }
  }
  throw notRead(path, 'no container in it is given the flags of etcd one by one');
}

function notRead(path: string, why: string): SnapshotError {
  return new SnapshotError('corrupt', `${path} cannot be read as the manifest of etcd`, {
    why,
    hint: 'Put the manifest right; or stop etcd by hand, and give --distribution=custom with --data-dir, --member-name and --peer-url.',
  });
}

function textOf(word: unknown): string {
  return isScalar(word) ? String(word.value) : '';
}
