import { execFile } from 'node:child_process';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { usersOf } from '../../src/restore/running.ts';
import { type Authority, certificateAuthority, type Pair } from '../support/certificates.ts';
import { runCommand } from '../support/command.ts';
import { startKubelet } from '../support/kubelet.ts';
import { freePorts, sleep } from '../support/processes.ts';
import { type ScratchDir, scratchDir } from '../support/scratch.ts';
import { toolsFlag } from '../support/snapshot-of.ts';
import { toolPath } from '../tools/toolbox.ts';

const run = promisify(execFile);

interface Node {
  readonly name: string;
  readonly manifests: string;
  readonly dataDir: string;
  readonly clientUrl: string;
  readonly peerUrl: string;
}

let scratch: ScratchDir;
let ca: Authority;
let pair: Pair;
let path: string;
const kubelets: AsyncDisposable[] = [];
beforeAll(async () => {
  scratch = await scratchDir('kubeadm-');
  ca = await certificateAuthority(scratch.path, 'etcd');
  // As kubeadm issues it: for servers and clients.
  pair = await ca.issue('server', { client: true });
  path = `${dirname(await toolPath('etcdctl'))}:${process.env['PATH']}`;
});
afterAll(async () => {
  for (const part of [...kubelets, scratch]) await part?.[Symbol.asyncDispose]();
});

async function node(name: string): Promise<Node> {
  const folder = join(scratch.path, name);
  await mkdir(join(folder, 'manifests'), { recursive: true });
  const [client, peer] = await freePorts(2);
  return {
    name,
    manifests: join(folder, 'manifests'),
    dataDir: join(folder, 'etcd'),
    clientUrl: `https://127.0.0.1:${client}`,
    peerUrl: `https://127.0.0.1:${peer}`,
  };
}

/** As kubeadm writes it: the first member founds the cluster, and those after it join. */
async function start(one: Node, cluster: readonly Node[]): Promise<void> {
  const command = [
    'etcd',
    `--name=${one.name}`,
    `--data-dir=${one.dataDir}`,
    `--listen-client-urls=${one.clientUrl}`,
    `--advertise-client-urls=${one.clientUrl}`,
    `--listen-peer-urls=${one.peerUrl}`,
    `--initial-advertise-peer-urls=${one.peerUrl}`,
    `--initial-cluster=${cluster.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(',')}`,
    ...(cluster.length > 1 ? ['--initial-cluster-state=existing'] : []),
    ...['', 'peer-'].flatMap((whose) => [
      `--${whose}cert-file=${pair.certFile}`,
      `--${whose}key-file=${pair.keyFile}`,
      `--${whose}trusted-ca-file=${ca.caFile}`,
      `--${whose}client-cert-auth=true`,
    ]),
  ];
  const pod = { kind: 'Pod', metadata: { name: 'etcd' }, spec: { containers: [{ name: 'etcd', command }] } };
  await writeFile(join(one.manifests, 'etcd.yaml'), stringify(pod, { lineWidth: 0 }));
  await writeFile(join(one.manifests, 'kube-apiserver.yaml'), stringify({ kind: 'Pod' }));
  kubelets.push(startKubelet(one.manifests, await toolPath('etcd'), join(scratch.path, `${one.name}.log`)));
}

async function etcdctl(one: Node, ...args: string[]): Promise<string> {
  const tls = [`--cacert=${ca.caFile}`, `--cert=${pair.certFile}`, `--key=${pair.keyFile}`];
  const words = [...tls, `--endpoints=${one.clientUrl}`, ...args];
  return (await run(await toolPath('etcdctl'), words)).stdout;
}

/** Until it does what it is asked: members come up, and find each other, in their own time. */
async function until(action: () => Promise<string>): Promise<string> {
  for (let left = 120; ; left -= 1) {
    try {
      return await action();
    } catch (error) {
      if (left === 0) throw error;
      await sleep(250);
    }
  }
}

it('a cluster of kubeadm comes back with the commands that are printed: the first member alone, the other one joins it', async () => {
  const [cp1, cp2] = [await node('cp1'), await node('cp2')];
  await start(cp1, [cp1]);
  await until(() => etcdctl(cp1, 'put', 'early', 'here'));
  await until(() => etcdctl(cp1, 'member', 'add', 'cp2', `--peer-urls=${cp2.peerUrl}`));
  await start(cp2, [cp1, cp2]);
  await until(() => etcdctl(cp2, 'get', 'early'));
  const snapshot = join(scratch.path, 'snapshot.db');
  await etcdctl(cp1, 'snapshot', 'save', snapshot);
  await etcdctl(cp1, 'put', 'late', 'gone');

  // As the page says: on all but one its manifest is moved away.
  const stopped = join(cp2.manifests, '../etcd.yaml');
  await rename(join(cp2.manifests, 'etcd.yaml'), stopped);
  while ((await usersOf(cp2.dataDir)).length > 0) await sleep(20);
  const tools = await toolsFlag();
  const common = ['--distribution=kubeadm', tools, '--yes'];
  const done = await runCommand(['restore', ...common, `--manifests=${cp1.manifests}`, snapshot]);
  expect(done, done.stderr).toMatchObject({ code: 0 });
  await until(() => etcdctl(cp1, 'endpoint', 'health'));
  expect(await etcdctl(cp1, 'get', 'late')).toBe('');

  const lines = done.stdout.split('\n').map((line) => line.trim());
  const add = lines.find((line) => line.includes(' member add ')) ?? '';
  const rejoin = lines.find((line) => line.startsWith('etcd-snapshot restore --rejoin')) ?? '';
  expect(rejoin).toContain(`--initial-cluster=cp1=${cp1.peerUrl},cp2=${cp2.peerUrl}`);
  await run('sh', ['-ec', add], { env: { PATH: path } });
  // The same command on the other node, whose manifest is back now.
  await rename(stopped, join(cp2.manifests, 'etcd.yaml'));
  const words = rejoin.replace(cp1.manifests, cp2.manifests).split(' ').slice(1);
  const joined = await runCommand([...words, tools]);
  expect(joined, joined.stderr).toMatchObject({ code: 0 });

  expect(await until(() => etcdctl(cp2, 'get', 'early', '--print-value-only'))).toBe('here\n');
  expect(await etcdctl(cp2, 'get', 'late')).toBe('');
  const { members } = JSON.parse(await etcdctl(cp1, 'member', 'list', '-w=json'));
  expect(members.map((one: { name: string }) => one.name).sort()).toEqual(['cp1', 'cp2']);
  const hashes = `--endpoints=${cp1.clientUrl},${cp2.clientUrl}`;
  await etcdctl(cp1, 'put', 'afterwards', 'both');
  expect(await until(() => etcdctl(cp2, 'get', 'afterwards', '--print-value-only'))).toBe('both\n');
  const both = JSON.parse(await etcdctl(cp1, 'endpoint', 'status', '-w=json', hashes));
  const clusters = both.map(
    (one: { Status: { header: { cluster_id: number } } }) => one.Status.header.cluster_id,
  );
  expect(new Set(clusters).size).toBe(1);
  expect(await readFile(join(cp2.manifests, 'etcd.yaml'), 'utf8')).toContain(
    '--initial-cluster-state=existing',
  );
});
