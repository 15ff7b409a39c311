import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { usersOf } from '../../src/restore/running.ts';
import { etcdFlags, runCommand, s3Env, s3Flags } from '../support/command.ts';
import { type ControlPlane, startControlPlane } from '../support/control-plane.ts';
import { sleep } from '../support/processes.ts';
import { type S3Server, startS3 } from '../support/s3-server.ts';
import { scratchDir } from '../support/scratch.ts';
import { snapshotOf, toolsFlag } from '../support/snapshot-of.ts';
import { toolPath } from '../tools/toolbox.ts';

const run = promisify(execFile);

let plane: ControlPlane;
let s3: S3Server;
let tools: string;
beforeAll(async () => {
  [plane, s3, tools] = await Promise.all([
    startControlPlane({ members: 3 }),
    startS3({ kind: 'versitygw' }),
    toolsFlag(),
  ]);
  await s3.createBucket('disaster');
});
afterAll(async () => {
  await plane?.[Symbol.asyncDispose]();
  await s3?.[Symbol.asyncDispose]();
});

async function kubectl(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await plane.kubectl(args);
  if (code !== 0) throw new Error(`kubectl ${args.join(' ')} failed:\n${stderr}`);
  return stdout;
}

async function etcdctl(...args: string[]): Promise<string> {
  const { caFile, certFile, keyFile } = plane.etcd.settings();
  const tls = [`--cacert=${caFile}`, `--cert=${certFile}`, `--key=${keyFile}`];
  return (await run(await toolPath('etcdctl'), [...tls, ...args])).stdout;
}

/** A new member is only taken while all others are well, which takes them a few seconds. */
async function addMember(name: string, peerUrl: string): Promise<void> {
  const [first] = plane.etcd.endpoints;
  for (let left = 120; ; left -= 1) {
    try {
      await etcdctl('member', 'add', name, `--peer-urls=${peerUrl}`, `--endpoints=${first}`);
      return;
    } catch (error) {
      if (left === 0) throw error;
      await sleep(500);
    }
  }
}

/** All three members and the API server at once, and the data of two members. */
async function disaster(): Promise<void> {
  plane.kill('SIGKILL');
  const { members } = plane.etcd;
  for (const member of members) member.kill('SIGKILL');
  for (const member of members) while ((await usersOf(member.dataDir)).length > 0) await sleep(20);
  for (const member of members.slice(1)) await rm(member.dataDir, { recursive: true });
}

const restore = (dataDir: string, flags: readonly string[], env?: Record<string, string>) =>
  runCommand(['restore', '--distribution=custom', `--data-dir=${dataDir}`, tools, '--yes', ...flags], env);

describe('after all members were killed, and the data of two are gone', () => {
  it.each([
    ['a snapshot on disk', []],
    ['a zip', ['--snapshot-compress']],
    ['a snapshot on S3', ['s3']],
  ])('the cluster comes back from %s, with what it held then and nothing later', async (what, form) => {
    await using dir = await scratchDir();
    const settings = s3.settings('disaster', 'prod');
    const [here, there] = [join(dir.path, 'here'), join(dir.path, 'there')];
    for (const folder of [here, there]) await mkdir(folder);
    const name = what.replaceAll(/\W/g, '-').toLowerCase();
    await kubectl('create', 'namespace', name);
    await writeFile(join(dir.path, 'bytes'), randomBytes(5000));
    await kubectl(
      'create',
      'secret',
      'generic',
      'early',
      `--from-file=${join(dir.path, 'bytes')}`,
      '-n',
      name,
    );
    await kubectl('create', 'configmap', 'early', '--from-literal=key=value', '-n', name);
    const early = await kubectl('get', 'secret,configmap', 'early', '-n', name, '-o', 'json');
    const onS3 = form[0] === 's3';
    const snapshot = onS3
      ? await snapshotOnS3(here, settings)
      : await snapshotOf(plane.etcd, here, 'disaster', form);
    await kubectl('create', 'configmap', 'late', '--from-literal=key=value', '-n', name);
    await disaster();

    const [first, ...others] = plane.etcd.members;
    if (first === undefined) throw new Error('there is no member');
    const flags = onS3
      ? [
          `s3://disaster/prod/${snapshot}`,
          `--dir=${there}`,
          ...s3Flags(settings).filter((flag) => !/bucket|folder/.test(flag)),
        ]
      : [snapshot];
    const done = await restore(first.dataDir, ['--member-name=m0', ...flags], s3Env(settings));
    expect(done, done.stderr).toMatchObject({ code: 0 });
    expect(done.stdout).toContain(`etcdctl member add m2 --peer-urls=${others[1]?.peerUrl}`);
    if (onS3) expect(await readdir(there)).toEqual([snapshot]);
    await first.restart(['m0']);
    await plane.restart();
    const among = ['m0'];
    for (const member of others) {
      await addMember(member.name, member.peerUrl);
      const rejoined = await restore(member.dataDir, ['--rejoin']);
      expect(rejoined, rejoined.stderr).toMatchObject({ code: 0 });
      among.push(member.name);
      await member.restart(among);
    }

    const endpoints = `--endpoints=${plane.etcd.endpoints.join()}`;
    const health = JSON.parse(await etcdctl('endpoint', 'health', '-w=json', endpoints));
    expect(health.map((one: { health: boolean }) => one.health)).toEqual([true, true, true]);
    expect(await kubectl('get', 'secret,configmap', 'early', '-n', name, '-o', 'json')).toBe(early);
    expect((await plane.kubectl(['get', 'configmap', 'late', '-n', name])).stderr).toContain('NotFound');
    await kubectl('create', 'configmap', 'afterwards', '--from-literal=key=value', '-n', name);
    const hashes = JSON.parse(await etcdctl('endpoint', 'hashkv', '-w=json', endpoints));
    const different = new Set(hashes.map((one: { HashKV: { hash: number } }) => one.HashKV.hash));
    expect(hashes).toHaveLength(3);
    expect(different.size).toBe(1);
  });
});

async function snapshotOnS3(dir: string, settings: ReturnType<S3Server['settings']>): Promise<string> {
  const saved = await runCommand(
    [
      'save',
      '--distribution=custom',
      '--node-name=node-1',
      `--dir=${dir}`,
      ...etcdFlags(plane.etcd.settings()),
      ...s3Flags(settings),
    ],
    s3Env(settings),
  );
  expect(saved, saved.stderr).toMatchObject({ code: 0 });
  return basename((await readdir(dir))[0] ?? '');
}
