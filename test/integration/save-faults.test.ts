import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ListMultipartUploadsCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { S3Settings } from '../../src/config/types.ts';
import {
  type CommandResult,
  etcdFlags,
  type RunningCommand,
  runCommand,
  s3Env,
  s3Flags,
  startCommand,
} from '../support/command.ts';
import { type EtcdCluster, startEtcd } from '../support/etcd-server.ts';
import { startFaultFront } from '../support/fault-front.ts';
import { type S3Server, s3Kinds, startS3 } from '../support/s3-server.ts';
import { scratchDir } from '../support/scratch.ts';
import { smallDisk } from '../support/small-disk.ts';
import { startTcpFront, type TcpFront } from '../support/tcp-front.ts';

let etcd: EtcdCluster;
const mebibyte = 1024 * 1024;

beforeAll(async () => {
  etcd = await startEtcd();
  await etcd.fill(40 * mebibyte);
});
afterAll(() => etcd[Symbol.asyncDispose]());

const base = (dir: string) => ['save', '--distribution=custom', '--node-name=node-1', `--dir=${dir}`];
const direct = (dir: string) => [...base(dir), ...etcdFlags(etcd.settings())];
const through = (dir: string, front: TcpFront) => [
  ...base(dir),
  ...etcdFlags({ ...etcd.settings(), endpoints: [`https://${front.endpoint}`] }),
];
const etcdFront = () => startTcpFront(new URL(etcd.endpoints[0] ?? '').host);

const finished = async (dir: string) => (await readdir(dir)).filter((name) => !name.startsWith('.'));
const temporary = async (dir: string) => (await readdir(dir)).filter((name) => name.startsWith('.'));
const partFile = async (dir: string) => (await temporary(dir)).find((name) => name.endsWith('.part'));

function whyOf(result: CommandResult): string {
  return `exit code ${result.code}\n${result.stderr}`;
}

describe('a save that is interrupted while etcd streams', () => {
  it.each(['SIGINT', 'SIGTERM'] as const)('%s: ends with 130 and leaves nothing', async (signal) => {
    await using dir = await scratchDir();
    await using front = await etcdFront();
    front.throttle(4 * mebibyte);
    const save = startCommand(through(dir.path, front));
    await save.until(async () => (await partFile(dir.path)) !== undefined);
    save.child.kill(signal);
    const result = await save.done;
    expect(result.code, whyOf(result)).toBe(130);
    expect(await readdir(dir.path)).toEqual([]);
  });

  it('SIGKILL: leaves no final name, and the next save removes what is left', async () => {
    await using dir = await scratchDir();
    await using front = await etcdFront();
    front.throttle(4 * mebibyte);
    const save = startCommand(through(dir.path, front));
    await save.until(async () => (await partFile(dir.path)) !== undefined);
    save.child.kill('SIGKILL');
    await save.done;
    expect(await finished(dir.path)).toEqual([]);
    expect(await partFile(dir.path)).toBeDefined();
    const listed = await runCommand(['ls', '--distribution=custom', `--dir=${dir.path}`, '-o', 'json']);
    expect(JSON.parse(listed.stdout)).toMatchObject({ items: [] });
    const next = await runCommand(direct(dir.path));
    expect(next.code, whyOf(next)).toBe(0);
    expect(await finished(dir.path)).toHaveLength(1);
    expect(await temporary(dir.path)).toEqual([]);
  });
});

describe('two saves at once in one folder', () => {
  it('the second says so and exits, the first is whole', async () => {
    await using dir = await scratchDir();
    await using front = await etcdFront();
    front.throttle(10 * mebibyte);
    const first = startCommand(through(dir.path, front));
    await first.until(async () => (await partFile(dir.path)) !== undefined);
    const second = await runCommand(direct(dir.path));
    expect(second.code, whyOf(second)).toBe(1);
    expect(second.stderr).toMatch(/already|another/i);
    const result = await first.done;
    expect(result.code, whyOf(result)).toBe(0);
    expect(await finished(dir.path)).toHaveLength(1);
    expect(await temporary(dir.path)).toEqual([]);
  });
});

describe('what keeps a save from the disk', () => {
  const expectFailure = async (run: Promise<CommandResult>, text: RegExp) => {
    const result = await run;
    expect(result.code, whyOf(result)).toBe(1);
    expect(result.stderr).toMatch(text);
  };

  it('a full disk: nothing stays, the cause and the figures are named', async () => {
    await using disk = await smallDisk(20 * mebibyte);
    await expectFailure(runCommand(direct(disk.path)), /space|full/i);
    expect(await readdir(disk.path)).toEqual([]);
  });

  it('etcd killed in mid-stream: nothing stays', async () => {
    await using dir = await scratchDir();
    await using doomed = await startEtcd();
    await doomed.fill(24 * mebibyte);
    await using front = await startTcpFront(new URL(doomed.endpoints[0] ?? '').host);
    front.throttle(4 * mebibyte);
    const settings = { ...doomed.settings(), endpoints: [`https://${front.endpoint}`] };
    const save = startCommand([...base(dir.path), ...etcdFlags(settings)]);
    await save.until(async () => (await partFile(dir.path)) !== undefined);
    doomed.members[0]?.kill('SIGKILL');
    await expectFailure(save.done, /etcd/);
    expect(await readdir(dir.path)).toEqual([]);
  });

  it('a learner: refused by name', async () => {
    await using dir = await scratchDir();
    await using cluster = await startEtcd();
    const endpoint = await cluster.addLearner();
    const flags = etcdFlags({ ...cluster.settings(), endpoints: [endpoint] });
    await expectFailure(runCommand([...base(dir.path), ...flags]), /learner/);
    expect(await readdir(dir.path)).toEqual([]);
  });
});

describe.each(s3Kinds)('uploads to %s', (kind) => {
  let s3: S3Server;
  beforeAll(async () => {
    s3 = await startS3({ kind });
    await s3.createBucket('snapshots');
  });
  afterAll(() => s3[Symbol.asyncDispose]());

  const objects = async (folder: string) => {
    const found = await s3
      .client()
      .send(new ListObjectsV2Command({ Bucket: 'snapshots', Prefix: `${folder}/` }));
    return (found.Contents ?? []).map((object) => object.Key ?? '');
  };
  /** MinIO lists the uploads of an exact key only, so a prefix would hide them there. */
  const openUploads = async (folder: string, dir: string) => {
    const names = [
      ...new Set([
        ...(await finished(dir)),
        ...(await temporary(dir)).map((n) => n.replace(/^\.|\..*$/g, '')),
      ]),
    ];
    const prefixes = kind === 'minio' ? names.map((name) => `${folder}/${name}`) : [`${folder}/`];
    const pages = await Promise.all(
      prefixes.map((Prefix) =>
        s3.client().send(new ListMultipartUploadsCommand({ Bucket: 'snapshots', Prefix })),
      ),
    );
    return pages.flatMap((page) => page.Uploads ?? []);
  };
  const saveTo = (dir: string, settings: S3Settings): RunningCommand =>
    startCommand([...direct(dir), ...s3Flags(settings)], s3Env(settings));

  it('a save lands on disk and on S3 with the same bytes', async () => {
    await using dir = await scratchDir();
    const settings = s3.settings('snapshots', `both-${kind}`);
    const result = await saveTo(dir.path, settings).done;
    expect(result.code, whyOf(result)).toBe(0);
    const [name] = await finished(dir.path);
    expect(await objects(settings.folder)).toEqual([`${settings.folder}/${name}`]);
    const listed = await runCommand(
      ['ls', '--distribution=custom', `--dir=${dir.path}`, '-o', 'json', ...s3Flags(settings)],
      s3Env(settings),
    );
    const size = String((await stat(join(dir.path, name ?? ''))).size);
    expect(
      JSON.parse(listed.stdout).items.map((item: { status: { size: string } }) => item.status.size),
    ).toEqual([size, size]);
  });

  it('wrong keys: exit code 3, the local copy stands, no secret is shown', async () => {
    await using dir = await scratchDir();
    const settings = s3.settings('snapshots', 'wrong-key');
    const env = { AWS_ACCESS_KEY_ID: 'AKIAWRONG', AWS_SECRET_ACCESS_KEY: 'a-very-secret-value' };
    const result = await runCommand([...direct(dir.path), ...s3Flags(settings), '--debug'], env);
    expect(result.code, whyOf(result)).toBe(3);
    expect(await finished(dir.path)).toHaveLength(1);
    expect(result.stderr).toContain('--s3-');
    expect(result.stderr + result.stdout).not.toContain('a-very-secret-value');
  });

  it.each(['SIGINT', 'SIGKILL'] as const)(
    '%s in mid-upload: no object, and no parts after the next save',
    async (signal) => {
      await using dir = await scratchDir();
      const folder = `killed-${signal.toLowerCase()}`;
      const settings = s3.settings('snapshots', folder);
      await using front = await startFaultFront(s3.url);
      front.setRule((request) => (request.path.includes('partNumber=2') ? 'hang' : undefined));
      const save = saveTo(dir.path, { ...settings, endpoint: front.endpoint });
      await save.until(() => front.requests.some((request) => request.path.includes('partNumber=2')));
      save.child.kill(signal);
      const result = await save.done;
      expect(result.code, whyOf(result)).toBe(signal === 'SIGINT' ? 130 : null);
      expect(await objects(folder)).toEqual([]);
      if (signal === 'SIGKILL') expect(await openUploads(folder, dir.path)).not.toEqual([]);
      front.setRule(() => undefined);
      const next = await saveTo(dir.path, { ...settings, endpoint: front.endpoint }).done;
      expect(next.code, whyOf(next)).toBe(0);
      expect(await openUploads(folder, dir.path)).toEqual([]);
      expect(await temporary(dir.path)).toEqual([]);
      expect(await objects(folder)).toHaveLength(1);
    },
  );

  it('a storm of 503: exit code 3 with the cause, nothing left on S3', async () => {
    await using dir = await scratchDir();
    const settings = s3.settings('snapshots', 'storm');
    await using front = await startFaultFront(s3.url);
    front.setRule(() => ({ status: 503 }));
    const result = await saveTo(dir.path, { ...settings, endpoint: front.endpoint, timeoutMs: 20_000 }).done;
    expect(result.code, whyOf(result)).toBe(3);
    expect(await finished(dir.path)).toHaveLength(1);
    expect(await objects('storm')).toEqual([]);
  });
});
