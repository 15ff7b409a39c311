import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { plainOrder } from '../../test/support/restore-order.ts';
import { scratchDir } from '../../test/support/scratch.ts';
import { whatRuns } from './what-runs.ts';

const rest = async () => [];

/** A program that has the database of `folder` open, which is made. */
async function etcdOn(folder: string) {
  await mkdir(join(folder, 'member/snap'), { recursive: true });
  await writeFile(join(folder, 'member/snap/db'), '');
  const script = `exec 3<${folder}/member/snap/db; echo open; read line`;
  const child = spawn('sh', ['-ec', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  return {
    pid: child.pid,
    async [Symbol.asyncDispose]() {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    },
  };
}

it.each([
  [
    'rke2',
    /systemctl stop rke2-server; then rke2-killall\.sh, because its etcd .* containers that go on running/,
  ],
  ['k3s', /systemctl stop k3s; what still runs after that, k3s-killall\.sh ends/],
  ['kubeadm', /move etcd\.yaml and kube-apiserver\.yaml out of \/pods/],
  ['custom', /^stop it: systemctl stop etcd$/],
] as const)('names what ends an etcd of %s that has the data open', async (distribution, cure) => {
  await using scratch = await scratchDir();
  const dataDir = join(scratch.path, 'etcd');
  await using one = await etcdOn(dataDir);
  const found = await whatRuns({ ...plainOrder, distribution, dataDir, manifestDir: '/pods' }, rest);
  expect(found).toEqual([
    {
      what: `sh (pid ${one.pid}) is running and has ${dataDir}/member/snap/db open`,
      cure: expect.stringMatching(cure),
    },
  ]);
});

it('asks for the services of the distribution', async () => {
  const asked: string[] = [];
  for (const distribution of ['k3s', 'rke2', 'kubeadm', 'custom'] as const) {
    await whatRuns({ ...plainOrder, distribution, dataDir: '/nonexistent' }, async (names) => {
      asked.push(`${distribution}: ${names.join(' ')}`);
      return [];
    });
  }
  expect(asked).toEqual(['k3s: k3s k3s-server', 'rke2: rke2-server', 'kubeadm: etcd', 'custom: etcd']);
});

it('leaves an etcd of the same service name alone that serves other data, but for one that comes up', async () => {
  await using scratch = await scratchDir();
  await using other = await etcdOn(join(scratch.path, 'etcd-events'));
  const order = { ...plainOrder, dataDir: join(scratch.path, 'etcd') };
  const states = async (state: string) => {
    const found = await whatRuns(order, async () => [{ name: 'etcd', state, pid: other.pid }]);
    return found.map(({ what }) => what);
  };
  expect(await states('active')).toEqual([]);
  expect(await states('activating')).toEqual([expect.stringContaining('the service etcd is activating')]);
  const unknown = await whatRuns(order, async () => [{ name: 'etcd', state: 'active', pid: process.pid }]);
  expect(unknown).toEqual([{ what: 'the service etcd is active', cure: 'stop it: systemctl stop etcd' }]);
});

it('tells who listens where etcd would', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  const order = { ...plainOrder, dataDir: '/nonexistent', addresses: [`127.0.0.1:${port}`] };
  expect(await whatRuns(order, rest)).toMatchObject([
    { what: `somebody listens on 127.0.0.1:${port}: etcd, its API server or its etcd is still running` },
  ]);
  server.close();
});

it('waits for the API server of kubeadm on such a port', async () => {
  const script = `process.title = 'kube-apiserver';
    const server = require('net').createServer().listen(0, '127.0.0.1', () => console.log(server.address().port))`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [port] = await once(child.stdout, 'data');
  const address = `127.0.0.1:${Number(port)}`;
  const order = { ...plainOrder, distribution: 'kubeadm', dataDir: '/nonexistent' } as const;
  const found = await whatRuns({ ...order, addresses: [address] }, rest);
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
  expect(found).toMatchObject([{ what: expect.stringContaining(`somebody listens on ${address}`) }]);
});
