import { execFile } from 'node:child_process';
import { cp, mkdir, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { CopyObjectCommand, DeleteObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import type { S3Settings } from '../../src/config/types.ts';
import { usersOf } from '../../src/restore/running.ts';
import {
  type CommandResult,
  etcdFlags,
  runCommand,
  s3Env,
  s3Flags,
  startCommand,
} from '../support/command.ts';
import { type EtcdCluster, startEtcd } from '../support/etcd-server.ts';
import type { SeenRequest } from '../support/fault-front.ts';
import { k3sBootstrap } from '../support/k3s-bootstrap.ts';
import { sleep, startServer } from '../support/processes.ts';
import { rancherServer } from '../support/rancher-server.ts';
import { dyingBeforeName, restoreHere } from '../support/restore-here.ts';
import { startS3Front } from '../support/s3-front.ts';
import { type S3Server, startS3 } from '../support/s3-server.ts';
import { type ScratchDir, scratchDir } from '../support/scratch.ts';
import { fillUp, smallDisk } from '../support/small-disk.ts';
import { toolsFlag } from '../support/snapshot-of.ts';
import { treeOf } from '../support/tree.ts';
import { toolPath } from '../tools/toolbox.ts';

const run = promisify(execFile);
const restoreMain = new URL('../support/restore-main.ts', import.meta.url).pathname;
const PASSWORD = 'the-password-of-the-servers';
const ca = Buffer.from('the CA of then').toString('base64');

let etcd: EtcdCluster;
let s3: S3Server;
let settings: S3Settings;
let saved: ScratchDir;
let name: string;
let oldMembersRun: Record<'here' | 'elsewhere', CommandResult>;
/** Of one member of three, which was killed. */
let oneOfThree: string;

beforeAll(async () => {
  [etcd, s3, saved] = await Promise.all([
    startEtcd({ members: 3 }),
    startS3({ kind: 'versitygw' }),
    scratchDir('saved-'),
  ]);
  await s3.createBucket('ways');
  settings = s3.settings('ways', 'prod');
  await etcd.put([k3sBootstrap({ ServerCA: ca }, PASSWORD), ['early', 'here']]);
  const flags = ['--distribution=custom', '--node-name=server-1', `--dir=${saved.path}`];
  const done = await runCommand(
    ['save', ...flags, ...etcdFlags(etcd.settings()), ...s3Flags(settings)],
    s3Env(settings),
  );
  expect(done, done.stderr).toMatchObject({ code: 0 });
  name = (await readdir(saved.path))[0] ?? '';
  await etcd.put([['late', 'kept by a reset']]);
  const [member] = etcd.members;
  // A member that has not heard yet that it was agreed upon would rightly drop it, and it writes down what it has heard
  // together with the next key.
  await etcd.put([['later', 'still']]);
  while (!(await knows(member?.endpoint ?? '', 'later'))) await sleep(20);
  const flagsOfLook = [
    await toolsFlag(),
    '--dry-run',
    join(saved.path, name),
    `--data-dir=${saved.path}/none`,
  ];
  const look = (...more: string[]) =>
    runCommand(['restore', '--distribution=custom', ...flagsOfLook, ...more]);
  oldMembersRun = {
    here: await look('--member-name=m0'),
    elsewhere: await look('--member-name=other', '--peer-url=https://10.0.0.1:2380'),
  };
  for (const one of etcd.members) one.kill('SIGKILL');
  while ((await usersOf(member?.dataDir ?? '')).length > 0) await sleep(20);
  oneOfThree = member?.dataDir ?? '';
});
afterAll(async () => {
  for (const part of [etcd, s3, saved]) await part?.[Symbol.asyncDispose]();
});

/** Whether that member alone has the key. */
async function knows(endpoint: string, key: string): Promise<boolean> {
  const { caFile, certFile, keyFile } = etcd.settings();
  const tls = [`--cacert=${caFile}`, `--cert=${certFile}`, `--key=${keyFile}`, `--endpoints=${endpoint}`];
  return (await run(await toolPath('etcdctl'), ['get', key, '--consistency=s', ...tls])).stdout !== '';
}

const server = () => rancherServer(PASSWORD);
const keys = () => [
  `--etcd-s3-access-key=${settings.keys?.accessKey.reveal()}`,
  `--etcd-s3-secret-key=${settings.keys?.secretKey.reveal()}`,
];

describe('the commands of the document, with k3s replaced', () => {
  it('server --cluster-init --cluster-reset --etcd-s3 --cluster-reset-restore-path=NAME', async () => {
    await using s = await server();
    const words = [
      'server',
      '--cluster-init',
      '--cluster-reset',
      '--etcd-s3',
      `--cluster-reset-restore-path=${name}`,
      '--etcd-s3-bucket=ways',
      ...keys(),
    ];
    const here = [`--etcd-s3-endpoint=${settings.endpoint}`, '--etcd-s3-insecure', '--etcd-s3-folder=prod'];
    const all = [...words, ...here, ...s.flags, '--peer-url=https://10.0.0.1:2380', '--yes'];
    const result = await runCommand(all);
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(await s.read('tls/server-ca.crt')).toBe('the CA of then');
    expect(await readdir(join(s.root, 'db/snapshots'))).toEqual([name]);
    expect(result.stdout + result.stderr).not.toContain(settings.keys?.secretKey.reveal());
  });

  it('server --cluster-reset --cluster-reset-restore-path=PATH, by a person at a terminal', async () => {
    await using s = await server();
    const words = ['server', '--cluster-reset', `--cluster-reset-restore-path=${join(saved.path, name)}`];
    const main = new URL('../../src/main.ts', import.meta.url).pathname;
    const script = `import os, pty, sys
pid, fd = pty.fork()
if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])
seen = b''
while True:
    try: data = os.read(fd, 4096)
    except OSError: break
    if not data: break
    seen += data
    if b'Write yes to begin: ' in seen:
        os.write(fd, b'yes\\n')
        seen = seen.replace(b'Write yes to begin: ', b'[asked] ')
print(seen.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))`;
    const args = [main, ...words, ...s.flags, '--peer-url=https://10.0.0.1:2380'];
    const { stdout } = await run('python3', ['-c', script, process.execPath, ...args]);
    expect(stdout).toMatch(/Plan:.*\[asked\].*Managed etcd cluster membership has been reset/s);
    expect(await s.read('tls/server-ca.crt')).toBe('the CA of then');
  });

  it('server --cluster-reset: one member, and the data are kept', async () => {
    await using s = await server();
    await rm(join(s.root, 'db/etcd/member'), { recursive: true });
    await cp(oneOfThree, join(s.root, 'db/etcd'), { recursive: true });
    const result = await runCommand(['server', ...s.flags, '--yes'], { K3S_CLUSTER_RESET: 'true' });
    expect(result, result.stderr).toMatchObject({ code: 0 });
    for (const member of ['m0', 'm1', 'm2'])
      expect(result.stdout).toMatch(new RegExp(`members now: .*${member} \\(`));
    expect(await s.read('db/etcd/name')).toBe('server-1-00000000');
    expect(await s.read('tls/server-ca.crt')).toBe('the CA of then');
    await using again = await startEtcd({ dataDir: join(s.root, 'db/etcd') });
    expect(String(await again.get('early'))).toBe('here');
    expect(String(await again.get('late'))).toBe('kept by a reset');
  });

  it('server --cluster-reset that dies again and again goes on, and leaves a log that is a link as it is', async () => {
    await using s = await server();
    const dataDir = join(s.root, 'db/etcd');
    const log = join(s.root, 'log');
    await cp(join(oneOfThree, 'member/snap'), join(dataDir, 'member/snap'), { recursive: true });
    await cp(join(oneOfThree, 'member/wal'), log, { recursive: true });
    await symlink(log, join(dataDir, 'member/wal'));
    const before = await treeOf(log);
    const journal = join(s.root, 'db/.etcd-restore.json');
    const died: string[] = [];
    let outcome: string | undefined;
    // Two names are given in each life: that of the journal, and one more; and one more again where that leads nowhere.
    for (let names = 2; outcome === undefined || outcome === 'died'; ) {
      outcome = await dyingBeforeName(names, () => restoreHere(['--cluster-reset', ...s.flags]));
      const text = await readFile(journal, 'utf8').catch(() => '{}');
      const step = String(JSON.parse(text).step);
      names = step === died.at(-1) ? names + 1 : 2;
      died.push(step);
    }
    expect(new Set(died).size).toBeGreaterThan(5);
    expect(outcome).toMatch(/members +1\n {2}\[x\] certificates {2}1 files/);
    for (const member of ['m1', 'm2']) expect(outcome).toMatch(new RegExp(`Then, on ${member} `));
    expect(await treeOf(log)).toEqual(before);
    const old = (await readdir(join(s.root, 'db'))).find((entry) => entry.startsWith('etcd-old-'));
    expect(await readlink(join(s.root, `db/${old}/member/wal`))).toBe(log);
    expect(await s.read('tls/server-ca.crt')).toBe('the CA of then');
    await using again = await startEtcd({ dataDir });
    expect(String(await again.get('late'))).toBe('kept by a reset');
  });

  it.each([
    [['server'], /--cluster-reset is missing/],
    [['server', '--cluster-reset-restore-path=x'], /--cluster-reset is missing/],
  ])('%j is refused', async (words, message) => {
    const result = await runCommand([...words, '--distribution=k3s']);
    expect(result.code).toBe(2);
    expect(result.stderr).toMatch(message);
  });

  it('a reset that was done already is not done again', async () => {
    await using s = await server();
    await writeFile(join(s.root, 'db/reset-flag'), '');
    const result = await s.run(['--cluster-reset', '--yes']);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/reset already.*reset-flag exists/);
  });
});

describe('while other members of the cluster still run', () => {
  it('a member of it is not restored, since they could take it back into the old cluster', () => {
    const { code, stderr } = oldMembersRun.here;
    const [, one, two] = etcd.members.map(({ peerUrl }) => peerUrl);
    expect(code).toBe(1);
    expect(stderr).toContain(`m1 (${one}), m2 (${two}) of the cluster that the data are of still answer`);
    expect(stderr).toMatch(/do: {2}stop it there, and keep it stopped/);
  });

  it('a machine that is none of it is only told', () => {
    const { code, stdout, stderr } = oldMembersRun.elsewhere;
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/note: m0 .*still answer; this node takes no address of that cluster/);
  });
});

describe('a snapshot on S3', () => {
  it('is only looked up with --dry-run', async () => {
    await using s = await server();
    const result = await s.run(
      [`s3://ways/prod/${name}`, '--dry-run', ...s3Flags(settings)],
      s3Env(settings),
    );
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(result.stdout).toMatch(/It would be downloaded to .*server\/db\/snapshots/);
    expect(await readdir(join(s.root, 'db/snapshots'))).toEqual([]);
  });

  it('is not fetched while something else stands in the way', async () => {
    await using s = await server();
    const flags = [name, '--yes', '--server=https://first:6443', ...s3Flags(settings)];
    const result = await s.run(flags, s3Env(settings));
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/set to join/);
    expect(await readdir(join(s.root, 'db/snapshots'))).toEqual([]);
  });

  it('that is not there is told as such', async () => {
    await using s = await server();
    const result = await s.run(['none-1', '--yes', ...s3Flags(settings)], s3Env(settings));
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/There is no snapshot s3:\/\/ways\/prod\/none-1/);
  });

  /** Objects of its own, and a front before them. */
  async function behindFront(folder: string) {
    const client = s3.client();
    const from = { Bucket: 'ways', CopySource: `ways/prod/${name}` };
    await client.send(new CopyObjectCommand({ ...from, Key: `${folder}/${name}` }));
    const front = await startS3Front(s3);
    return {
      front,
      flags: ['--yes', ...s3Flags(front.settings('ways', folder))],
      remove: () => client.send(new DeleteObjectCommand({ Bucket: 'ways', Key: `${folder}/${name}` })),
    };
  }
  const isGet = ({ method, headers }: SeenRequest) => method === 'GET' && headers.range !== undefined;

  it('that vanishes while it is downloaded is told, and nothing is touched', async () => {
    await using s = await server();
    const before = await treeOf(s.root);
    const { front, flags, remove } = await behindFront('vanishing');
    await using _front = front;
    let gone: Promise<unknown> | undefined;
    front.setRule((request) => {
      if (!isGet(request)) return undefined;
      if (gone !== undefined) return { after: gone };
      gone = remove();
      return { cutAfterResponseBytes: 5_000 };
    });
    const result = await s.run([name, ...flags], s3Env(settings));
    expect(result.code).toBe(1);
    expect(result.stderr).toContain(name);
    expect(result.stderr).toMatch(/is gone|no longer|not there|does not exist|There is no/i);
    expect(result.stderr).toContain('  do:  ');
    expect(await treeOf(s.root)).toEqual(before);
  });

  it('whose download finds no room is told, and goes on when there is some', async () => {
    await using s = await server();
    await using disk = await smallDisk(1_000_000);
    const { front, flags } = await behindFront('roomy');
    await using _front = front;
    const filler = join(disk.path, 'filler');
    front.setRule((request) => (isGet(request) ? { after: fillUp(filler) } : undefined));
    const words = [name, ...flags, `--dir=${disk.path}`];
    const result = await s.run(words, s3Env(settings));
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/space|full/);
    expect(await readdir(join(s.root, 'db'))).toEqual(['etcd', 'snapshots']);
    await rm(filler);
    front.setRule(() => undefined);
    expect(await s.run(words, s3Env(settings))).toMatchObject({ code: 0 });
    expect(await readdir(disk.path)).toEqual([name]);
  });

  it('that has come is not asked for again by a restore that goes on, so S3 may be away', async () => {
    await using s = await server();
    const { front, flags } = await behindFront('away');
    const words = ['restore', ...s.flags, '--peer-url=https://10.0.0.1:2380', name, ...flags];
    const kill = [restoreMain, 'put-in-place', ...words];
    const env = { ...s3Env(settings), PATH: process.env['PATH'] };
    await expect(run(process.execPath, kill, { env })).rejects.toMatchObject({ signal: 'SIGKILL' });
    await front[Symbol.asyncDispose]();
    const result = await runCommand(words, s3Env(settings));
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(result.stdout).toContain('Going on in the step put-in-place');
    expect(await s.read('tls/server-ca.crt')).toBe('the CA of then');
  });

  it('is verified, and leaves nothing on this node', async () => {
    await using temp = await scratchDir();
    const flags = ['verify', await toolsFlag(), `--temp-dir=${temp.path}`, '-o', 'json'];
    const result = await runCommand([...flags, name, ...s3Flags(settings)], s3Env(settings));
    expect(result, result.stderr).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(result.stdout).snapshots).toMatchObject([
      { restorable: true, path: `s3://ways/prod/${name}` },
    ]);
    expect(await readdir(temp.path)).toEqual([]);
  });
});

describe('kubeadm', () => {
  /** A node whose kubelet runs etcd as long as its manifest is there: this test is the kubelet. */
  async function node() {
    const scratch = await scratchDir('kubeadm-');
    const [manifests, dataDir] = [join(scratch.path, 'manifests'), join(scratch.path, 'data')];
    await mkdir(manifests);
    await cp(oneOfThree, dataDir, { recursive: true });
    const command = [
      'etcd',
      `--data-dir=${dataDir}`,
      '--name=m0',
      '--initial-advertise-peer-urls=http://127.0.0.1:7380',
    ];
    const pod = { kind: 'Pod', spec: { containers: [{ name: 'etcd', command }] } };
    await writeFile(join(manifests, 'etcd.yaml'), stringify(pod));
    await writeFile(join(manifests, 'kube-apiserver.yaml'), stringify({ kind: 'Pod' }));
    return {
      dataDir,
      manifests,
      folder: scratch.path,
      flags: [
        'restore',
        '--distribution=kubeadm',
        `--manifests=${manifests}`,
        await toolsFlag(),
        join(saved.path, name),
      ],
      [Symbol.asyncDispose]: () => scratch[Symbol.asyncDispose](),
    };
  }

  it('takes the member from the manifest, moves the manifests away, waits, and moves them back', async () => {
    await using n = await node();
    await using running = await startServer({
      name: 'something that has the data open',
      command: 'tail',
      args: ['-f', join(n.dataDir, 'member/snap/db')],
      logFile: '/dev/null',
      ready: async () => (await usersOf(n.dataDir)).length > 0,
    });
    const command = startCommand([...n.flags, '--yes']);
    await command.until(async () => (await readdir(n.manifests)).length === 0);
    expect(await usersOf(n.dataDir)).not.toEqual([]);
    running.kill('SIGTERM');
    const result = await command.done;
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(result.stdout).toContain('[x] members       1: m0 at http://127.0.0.1:7380');
    expect((await readdir(n.manifests)).sort()).toEqual(['etcd.yaml', 'kube-apiserver.yaml']);
    expect((await readdir(n.folder)).filter((entry) => entry.startsWith('manifests-'))).toEqual([]);
    await using again = await startEtcd({ dataDir: n.dataDir });
    expect(String(await again.get('early'))).toBe('here');
    expect(await again.get('late')).toBeNull();
  });

  it('--print-commands: what it prints does the same', async () => {
    await using n = await node();
    const printed = await runCommand([...n.flags, '--print-commands']);
    expect(printed, printed.stderr).toMatchObject({ code: 0 });
    expect(await readdir(n.folder)).toEqual(['data', 'manifests']);
    const folder = (await toolPath('etcdutl')).replace(/\/etcdutl$/, '');
    await run('sh', ['-c', printed.stdout], { env: { PATH: `${folder}:${process.env['PATH']}` } });
    expect((await readdir(n.manifests)).sort()).toEqual(['etcd.yaml', 'kube-apiserver.yaml']);
    await using again = await startEtcd({ dataDir: n.dataDir });
    expect(String(await again.get('early'))).toBe('here');
    expect(await again.get('late')).toBeNull();
    expect(await readFile(join(n.manifests, 'etcd.yaml'), 'utf8')).toContain('m0');
  });
});
