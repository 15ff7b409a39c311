import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { ALL, cutOffAt, etcd, offlineNode as node } from '../../test/support/offline-node.ts';
import { plainOrder } from '../../test/support/restore-order.ts';
import type { Journal, Step } from './journal.ts';
import { readJournal } from './journal-check.ts';
import { journalPath } from './places.ts';
import { assertNothingElseSaid } from './refusal.ts';
import { watchful } from './watch.ts';

const run = promisify(execFile);

async function journalOf(dataDir: string): Promise<Journal> {
  const journal = await readJournal(await journalPath(dataDir));
  if (journal === undefined) throw new Error('no restore has begun');
  return journal;
}

it('goes on only as it began', async () => {
  await using n = await node(true);
  await expect(n.run({}, { onStep: cutOffAt('set-aside') })).rejects.toThrow('cut off');
  await expect(n.run({ initialCluster: `${ALL},m2=http://10.0.0.3:2380` })).rejects.toMatchObject({
    message: `A restore of ${n.dataDir} is not finished, and began otherwise`,
    why: `--initial-cluster is ${ALL},m2=http://10.0.0.3:2380, and was ${ALL}`,
  });
  await expect(n.run({ manifestsGiven: true, manifestDir: n.folder, dataDir: n.dataDir })).rejects.toThrow(
    /began otherwise/,
  );
  await n.run();
});

it('goes on by the same command with --manifests where there is no etcd.yaml to move', async () => {
  await using n = await node();
  await expect(n.run({}, { onStep: cutOffAt('set-aside') })).rejects.toThrow('cut off');
  const journal = await journalOf(n.dataDir);
  const said = { ...plainOrder, manifestsGiven: true, manifestDir: '/stopped' };
  expect(() => assertNothingElseSaid(said, journal)).not.toThrow();
});

it('waits for the end of etcd again when a reset was cut off while it waited', async () => {
  await using n = await node(true);
  await expect(n.run({}, { onStep: cutOffAt('set-aside') })).rejects.toThrow('cut off');
  const order = {
    ...plainOrder,
    distribution: 'kubeadm',
    dataDir: n.dataDir,
    manifestDir: n.manifests,
  } as const;
  const services = [[etcd], []];
  const parts = { order, active: async () => services.shift() ?? [] };
  const journal: Journal = { ...(await journalOf(n.dataDir)), purpose: 'reset' };
  await watchful(journal, parts, () => undefined, new AbortController().signal)('extract');
  expect(services).toEqual([]);
});

it('makes a member of kubeadm join instead of founding a cluster, and a rollback takes that back', async () => {
  await using n = await node(true);
  await n.run();
  const text = await readFile(join(n.manifests, 'etcd.yaml'), 'utf8');
  expect(text).toContain('# by hand');
  expect(parse(text).spec.containers[0].command).toEqual([
    'etcd',
    `--data-dir=${n.dataDir}`,
    '--name=m1',
    '--initial-advertise-peer-urls=http://10.0.0.2:2380',
    `--initial-cluster=${ALL}`,
    '--initial-cluster-state=existing',
  ]);
  expect((await readdir(n.manifests)).sort()).toEqual(['etcd.yaml', 'kube-apiserver.yaml']);
  await n.run({ purpose: 'rollback' });
  expect(await readFile(join(n.manifests, 'etcd.yaml'), 'utf8')).toBe(n.pod);
  expect(await n.names()).toEqual(['etcd', 'manifests']);
});

it.each([
  [
    'no --initial-cluster',
    { initialCluster: undefined },
    /etcdctl member add m1 --peer-urls=http:\/\/10\.0\.0\.2:2380/,
  ],
  [
    'one without this member',
    { initialCluster: 'm0=http://10.0.0.1:2380,m2=http://10.0.0.3:2380' },
    /all members/,
  ],
  ['this member alone', { initialCluster: 'm1=http://10.0.0.2:2380' }, /all members/],
])('refuses to let a member of kubeadm rejoin with %s', async (_what, change, hint) => {
  await using n = await node(true);
  await expect(n.run(change)).rejects.toMatchObject({ hint: expect.stringMatching(hint) });
  expect(await n.names()).toEqual(['etcd', 'manifests']);
});

it.each([['rejoin'], ['rollback']] as const)(
  'finds what was cut off by the manifest that it has moved away itself: %s',
  async (purpose) => {
    await using n = await node(true);
    await expect(n.run({}, { onStep: cutOffAt('start') })).rejects.toThrow('cut off');
    expect(await readdir(n.manifests)).toEqual([]);
    await n.run({ purpose });
    expect((await readdir(n.manifests)).sort()).toEqual(['etcd.yaml', 'kube-apiserver.yaml']);
    expect((await n.names()).includes('etcd')).toBe(purpose === 'rollback');
    const existing = (await readFile(join(n.manifests, 'etcd.yaml'), 'utf8')).includes('state=existing');
    expect(existing).toBe(purpose === 'rejoin');
  },
);

it('moves manifests away again that were put back while it was not finished, and waits until etcd has ended', async () => {
  await using n = await node(true);
  await expect(n.run({}, { onStep: cutOffAt('set-aside') })).rejects.toThrow('cut off');
  await writeFile(join(n.manifests, 'etcd.yaml'), n.pod);
  // Kubelet: what it runs ends some time after the manifest is gone.
  let looks = 0;
  const active = async () => {
    const there = (await readdir(n.manifests)).includes('etcd.yaml');
    if (!there) looks += 1;
    return there || looks === 1 ? [etcd] : [];
  };
  let seen: readonly string[] = [];
  const onStep = async (step: Step) => {
    if (step === 'start') seen = await n.names();
  };
  await n.run({}, { onStep }, { active });
  expect(looks).toBeGreaterThan(1);
  expect(seen).toContain('etcd-old-1700000000');
});

it('does not choose between a manifest that was put back and a different one that it moved away', async () => {
  await using n = await node(true);
  await expect(n.run({}, { onStep: cutOffAt('set-aside') })).rejects.toThrow('cut off');
  await writeFile(join(n.manifests, 'etcd.yaml'), `${n.pod}# another\n`);
  await expect(n.run()).rejects.toMatchObject({ why: `the one that was moved away is ${n.away}/etcd.yaml` });
  expect(await n.names()).toContain('etcd');
});

it('does not touch data of kubeadm whose manifest was put back after the restore had begun without it', async () => {
  await using n = await node(true);
  const without = {
    distribution: 'custom',
    dataDir: n.dataDir,
    manifestDir: undefined,
    initialCluster: undefined,
  } as const;
  await expect(n.run(without, { onStep: cutOffAt('set-aside') })).rejects.toThrow('cut off');
  await expect(n.run({ initialCluster: undefined, purpose: 'rollback' })).rejects.toMatchObject({
    message: `${n.dataDir} must not be touched now`,
    why: `${n.manifests}/etcd.yaml is there again, so kubelet starts etcd`,
  });
});

it('writes commands that do the same: a member of kubeadm is made to join', async () => {
  await using n = await node(true);
  const script = (await n.run({ printCommands: true })) ?? '';
  expect(await n.names()).toEqual(['etcd', 'manifests']);
  await run('sh', ['-c', script]);
  expect(await n.names()).toEqual(['etcd-old-1700000000', 'manifests', 'manifests-restore-1700000000']);
  const { command } = parse(await readFile(join(n.manifests, 'etcd.yaml'), 'utf8')).spec.containers[0];
  expect(command).toContain(`--initial-cluster=${ALL}`);
  expect(command).toContain('--initial-cluster-state=existing');
  expect(await readFile(join(n.away, 'etcd-before-rejoin.yaml'), 'utf8')).toBe(n.pod);
  expect((await readdir(n.manifests)).sort()).toEqual(['etcd.yaml', 'kube-apiserver.yaml']);
});

it('leaves the manifests where they are when there is nothing to go back to', async () => {
  await using n = await node(true);
  await n.run();
  await rename(join(n.folder, 'etcd-old-1700000000'), join(n.folder, 'elsewhere'));
  await expect(n.run({ purpose: 'rollback' })).rejects.toThrow(`The old data of ${n.dataDir} are gone`);
  expect((await readdir(n.manifests)).sort()).toEqual(['etcd.yaml', 'kube-apiserver.yaml']);
});

it.each([
  ['flags in one line of a shell', ['sh', '-c', 'etcd --data-dir=/srv/etcd --name=m1'], /one by one/],
  [
    'no folder that could be read',
    ['etcd', '--name=m1', '--data-dir', '/srv/etcd'],
    /gives etcd no --data-dir=/,
  ],
])('does not guess where the data are that etcd has by %s', async (_what, command, why) => {
  await using n = await node(true);
  const pod = stringify({ kind: 'Pod', spec: { containers: [{ name: 'etcd', command }] } });
  await writeFile(join(n.manifests, 'etcd.yaml'), pod);
  for (const purpose of ['restore', 'reset', 'rejoin', 'rollback'] as const) {
    await expect(n.run({ purpose })).rejects.toMatchObject({
      code: 'corrupt',
      message: `${n.manifests}/etcd.yaml cannot be read as the manifest of etcd`,
      why: expect.stringMatching(why),
    });
  }
  expect(await n.names()).toEqual(['etcd', 'manifests']);
});

it('finds out before anything is moved that a member cannot be made to join by its manifest', async () => {
  await using n = await node(true);
  // What is taken out is referred to elsewhere.
  const pod = `${n.pod.replace('- --initial-cluster=', '- &all --initial-cluster=')}metadata: {name: *all}\n`;
  await writeFile(join(n.manifests, 'etcd.yaml'), pod);
  await expect(n.run()).rejects.toMatchObject({
    message: `${n.dataDir} is not touched`,
    why: expect.stringContaining(
      `${n.manifests}/etcd.yaml cannot be read as the manifest of etcd: Unresolved alias`,
    ),
  });
  expect((await readdir(n.manifests)).sort()).toEqual(['etcd.yaml', 'kube-apiserver.yaml']);
  expect(await n.names()).toEqual(['etcd', 'manifests']);
});

it('waits for no load balancer on a port of the API server, neither forth nor back, but names it', async () => {
  await using n = await node(true);
  const balancer = createServer().listen(0, '127.0.0.1');
  await once(balancer, 'listening');
  const address = balancer.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  const addresses = [`127.0.0.1:${port}`];
  let plan = '';
  const onPlan = (text: string) => {
    plan = text;
  };
  await n.run({ addresses }, { onPlan });
  expect(plan).toContain(
    `(pid ${process.pid}) listens on port ${port}, and is neither etcd nor the API server`,
  );
  expect(await n.names()).toContain('etcd-old-1700000000');
  await n.run({ addresses, purpose: 'rollback' });
  expect(await n.names()).toEqual(['etcd', 'manifests']);
  balancer.close();
});

it('a rollback leaves a control plane alone that runs on data which were not moved', async () => {
  await using n = await node(true);
  await expect(n.run({}, { onStep: cutOffAt('stop') })).rejects.toThrow('cut off');
  expect((await readdir(n.manifests)).sort()).toEqual(['etcd.yaml', 'kube-apiserver.yaml']);
  const active = async () => {
    expect((await readdir(n.manifests)).sort()).toEqual(['etcd.yaml', 'kube-apiserver.yaml']);
    return [etcd];
  };
  // While the service runs, moved manifests would be waited for.
  expect(await n.run({ purpose: 'rollback' }, {}, { active })).toBe('Rolled back: nothing had to be moved\n');
  expect((await readdir(n.manifests)).sort()).toEqual(['etcd.yaml', 'kube-apiserver.yaml']);
  expect((await readdir(n.folder)).sort()).toEqual(['etcd', 'manifests']);
});
