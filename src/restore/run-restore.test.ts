import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { databaseOf } from '../../test/support/members.ts';
import { cutOffAt, etcd, offlineNode as node } from '../../test/support/offline-node.ts';
import { plainOrder } from '../../test/support/restore-order.ts';
import { SnapshotError } from '../errors.ts';
import type { Step } from './journal.ts';
import { oldPeersThatAnswer } from './old-peers.ts';
import type { RestoreParts } from './run-restore.ts';

const run = promisify(execFile);
const emptyDatabase = databaseOf();

it('refuses while systemd starts the service again and again', async () => {
  await using n = await node();
  n.services.push(etcd);
  await expect(n.run()).rejects.toMatchObject({
    message: `${n.dataDir} is not touched`,
    why: 'the service etcd is activating: systemd starts it, or will start it again in a moment',
    hint: 'stop it: systemctl stop etcd.',
  });
  expect(await n.names()).toEqual(['etcd', 'manifests']);
});

it.each([['stop'], ['set-aside']] as const)(
  'asks again right before the step %s whether etcd runs, and goes on when it is stopped',
  async (late) => {
    await using n = await node();
    const comesUp = { onStep: (step: Step) => void (step === late && n.services.push(etcd)) };
    await expect(n.run({}, comesUp)).rejects.toMatchObject({
      message: `The restore stopped: ${n.dataDir} must not be touched now`,
      why: expect.stringContaining('the service etcd is activating'),
      hint: expect.stringMatching(
        /^Stop it: systemctl stop etcd\. The same command goes on where it stopped/,
      ),
    });
    expect(await n.names()).toEqual(['etcd', 'manifests']);
    await expect(n.run()).rejects.toMatchObject({
      message: `Everything stays as it is: the restore of ${n.dataDir} stopped in the step ${late}, and does not go on`,
    });
    n.services.splice(0);
    await n.run();
    expect(await n.names()).toEqual(['etcd-old-1700000000', 'manifests']);
  },
);

it('asks before and after the question whether a rollback may begin', async () => {
  await using n = await node();
  await n.run();
  n.services.push(etcd);
  await expect(n.run({ purpose: 'rollback' })).rejects.toMatchObject({
    message: `The restore of ${n.dataDir} is not undone`,
    why: expect.stringContaining('the service etcd is activating'),
  });
  n.services.splice(0);
  const confirm = async () => n.services.push(etcd) > 0;
  await expect(n.run({ purpose: 'rollback', yes: false }, { confirm })).rejects.toMatchObject({
    message: `${n.dataDir} must not be touched now`,
  });
  expect(await n.names()).toEqual(['etcd-old-1700000000', 'manifests']);
});

it.each([['look'], ['question']] as const)(
  'does not begin when it is interrupted in the %s',
  async (when) => {
    await using n = await node();
    const interrupt = new AbortController();
    const onPlan = () => when === 'look' && interrupt.abort();
    const confirm = async () => {
      interrupt.abort();
      return true;
    };
    await expect(
      n.run({ yes: when === 'look' }, { onPlan, confirm }, {}, interrupt.signal),
    ).rejects.toMatchObject({
      code: 'aborted',
      message: 'Interrupted',
    });
    expect((await readdir(n.folder)).sort()).toEqual(['etcd', 'manifests']);
  },
);

it('takes no member for one that is silent when it was interrupted while asking', async () => {
  const interrupt = new AbortController();
  const isMember = async () => {
    interrupt.abort();
    return false;
  };
  const members = ['m0', 'm1'].map((name, at) => ({
    id: name,
    name,
    peerUrls: [`http://10.0.0.${at}:2380`],
    isLearner: false,
  }));
  const database = { ...emptyDatabase, members };
  const self = { member: 'm0', peerUrl: 'http://10.0.0.0:2380' };
  await expect(
    oldPeersThatAnswer(plainOrder, database, self, { isMember }, interrupt.signal),
  ).rejects.toMatchObject({ code: 'aborted' });
});

it('comes to its end whatever lies beside the data with a name like its own', async () => {
  await using n = await node();
  await writeFile(join(n.folder, 'etcd-restore-1'), 'of somebody else');
  await n.run();
  expect(await n.names()).toEqual(['etcd-old-1700000000', 'etcd-restore-1', 'manifests']);
});

it('takes the folder of a server that is a link, without data of etcd, for what it is', async () => {
  await using n = await node();
  await mkdir(join(n.folder, 'disk/server'), { recursive: true });
  await symlink(join(n.folder, 'disk'), join(n.folder, 'k3s'));
  const serverDir = join(n.folder, 'k3s/server');
  const order = { distribution: 'k3s', serverDir, serverUrl: 'https://first:6443' } as const;
  await expect(n.run({ ...order, dataDir: join(serverDir, 'db/etcd') })).resolves.toContain(
    'systemctl start k3s',
  );
});

it('does not begin while another process restores the same data', async () => {
  await using n = await node();
  const lock = async () => {
    throw new SnapshotError('busy', 'Another save is already running', { why: 'process 1 has the folder' });
  };
  await expect(n.run({}, {}, { lock })).rejects.toMatchObject({
    code: 'busy',
    message: `Another etcd-snapshot is at work on ${n.dataDir}, or beside it`,
    why: 'process 1 has the folder',
  });
});

it('writes commands that stop at the first one that fails, and that are all that is written', async () => {
  await using n = await node();
  let shown = '';
  const script =
    (await n.run(
      { printCommands: true },
      {
        onPlan: (text) => {
          shown = text;
        },
      },
    )) ?? '';
  await writeFile(join(n.folder, 'systemctl'), '#!/bin/sh\nexit 1\n', { mode: 0o700 });
  const env = { PATH: `${n.folder}:${process.env['PATH']}` };
  await expect(run('sh', ['-c', `${shown}\n${script}`], { env })).rejects.toMatchObject({ code: 1 });
  expect(await n.names()).toEqual(['etcd', 'manifests', 'systemctl']);
  await writeFile(join(n.folder, 'systemctl'), '#!/bin/sh\n', { mode: 0o700 });
  await run('sh', ['-c', `${shown}\n${script}`], { env });
  expect(await n.names()).toEqual(['etcd-old-1700000000', 'manifests', 'systemctl']);
});

it('does not write commands for a restore that has begun', async () => {
  await using n = await node();
  await expect(n.run({}, { onStep: cutOffAt('set-aside') })).rejects.toThrow('cut off');
  await expect(n.run({ printCommands: true })).rejects.toMatchObject({
    message: `The restore of ${n.dataDir} has begun, and cannot be ended by hand`,
  });
});

it('does not let a server of K3s rejoin that is set to join no other one', async () => {
  await using n = await node();
  const k3s = { distribution: 'k3s', serverDir: join(n.folder, 'server') } as const;
  await expect(n.run(k3s)).rejects.toMatchObject({
    why: 'this server is not set to join another one: without its data k3s would found a cluster of its own',
    hint: expect.stringContaining(
      '"server: https://<restored server>:6443" into /etc/rancher/k3s/config.yaml',
    ),
  });
  expect(await n.names()).toEqual(['etcd', 'manifests']);
  expect(await n.run({ ...k3s, serverUrl: 'https://first:6443' })).toContain('systemctl start k3s');
});

/** A restore of a snapshot that does not exist: it is refused, and for nothing else. */
const another = {
  order: { purpose: 'restore', peerUrl: 'http://10.0.0.2:2380' },
  snapshot: '/nowhere/x',
} as const;
function toolsThatAnswer({ tools }: Pick<RestoreParts, 'tools'>): Pick<RestoreParts, 'tools'> {
  return { tools: { ...tools, version: async () => '3.6.1', canBump: async () => true } };
}

it.each(['127.0.0.1', 'localhost'])(
  'is refused while somebody listens on %s of --etcd-servers',
  async (host) => {
    await using n = await node();
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const addresses = [`203.0.113.9:${port}`, `${host}:${port}`];
    await expect(n.run({ addresses })).rejects.toMatchObject({
      why: expect.stringContaining(`somebody listens on ${host}:${port}`),
    });
    server.close();
    await n.run({ addresses });
  },
);

describe('a restore of which only the end is left', () => {
  it.each([[false], [true]])(
    'is ended when another one is wanted, its old data gone (kubeadm: %s)',
    async (kubeadm) => {
      await using n = await node(kubeadm);
      await expect(n.run({}, { onStep: cutOffAt(kubeadm ? 'start' : 'finish') })).rejects.toThrow('cut off');
      await rm(join(n.folder, 'etcd-old-1700000000'), { recursive: true });
      const told: string[] = [];
      const onPlan = (text: string) => void told.push(text);
      const other = { ...toolsThatAnswer(n), snapshot: another.snapshot };
      await expect(n.run({ ...another.order, dryRun: true }, { onPlan }, other)).rejects.toThrow(
        /not touched/,
      );
      expect(await n.journal()).toMatchObject({ step: kubeadm ? 'start' : 'finish' });
      await expect(n.run(another.order, { onPlan }, other)).rejects.toMatchObject({
        message: `${n.dataDir} is not touched`,
        why: expect.stringContaining('/nowhere/x'),
      });
      expect(told.at(-1)).toMatch(/that stopped in the step (?:start|finish) is brought to its end first/);
      expect(await n.journal()).not.toHaveProperty('step');
      if (kubeadm)
        expect(await readFile(join(n.manifests, 'etcd.yaml'), 'utf8')).toContain('--initial-cluster=');
    },
  );

  it('goes on although etcd runs again already', async () => {
    await using n = await node();
    await expect(n.run({}, { onStep: cutOffAt('finish') })).rejects.toThrow('cut off');
    n.services.push(etcd);
    const told: string[] = [];
    await n.run({}, { onPlan: (text) => void told.push(text) });
    expect(told.join()).toContain('note: the service etcd is activating');
    expect(await n.journal()).not.toHaveProperty('step');
  });

  it('is not undone without its old data, and the journal to remove is named', async () => {
    await using n = await node();
    await expect(n.run({}, { onStep: cutOffAt('finish') })).rejects.toThrow('cut off');
    await rm(join(n.folder, 'etcd-old-1700000000'), { recursive: true });
    await expect(n.run({ purpose: 'rollback' })).rejects.toMatchObject({
      message: `The old data of ${n.dataDir} are gone`,
      hint: expect.stringContaining(`remove ${join(n.folder, '.etcd-restore.json')}`),
    });
  });
});
