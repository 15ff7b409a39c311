import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { etcdFlags, runCommand, s3Env, s3Flags, startCommand } from '../support/command.ts';
import { type EtcdCluster, startEtcd } from '../support/etcd-server.ts';
import { startFaultFront } from '../support/fault-front.ts';
import { type S3Server, startS3 } from '../support/s3-server.ts';
import { scratchDir } from '../support/scratch.ts';
import { startTcpFront } from '../support/tcp-front.ts';

let etcd: EtcdCluster;
let s3: S3Server;
beforeAll(async () => {
  [etcd, s3] = await Promise.all([startEtcd(), startS3({ kind: 'versitygw' })]);
  await s3.createBucket('cli');
  await etcd.fill(20 * 1024 * 1024);
});
afterAll(async () => {
  await etcd?.[Symbol.asyncDispose]();
  await s3?.[Symbol.asyncDispose]();
});

const where = (dir: string): string[] => ['--distribution=custom', '--node-name=node-1', `--dir=${dir}`];
const finished = /^on-demand-node-1-\d{10}$/;

describe('etcd-snapshot', () => {
  it('saves to disk and S3, and lists both: data on stdout, the rest on stderr', async () => {
    await using dir = await scratchDir();
    const settings = s3.settings('cli', 'both');
    const flags = [...where(dir.path), ...etcdFlags(etcd.settings()), ...s3Flags(settings)];
    const save = await runCommand([...flags, 'save'], s3Env(settings));
    expect(save).toMatchObject({ code: 0, stdout: '' });
    const [name = ''] = (await readdir(dir.path)).filter((file) => finished.test(file));
    expect(save.stderr.match(new RegExp(`^INFO\\[\\d{4}\\] Snapshot ${name} saved\\.`, 'gm'))).toHaveLength(
      2,
    );

    const table = await runCommand([...flags, 'l'], s3Env(settings));
    expect(table).toMatchObject({ code: 0, stderr: '' });
    const [header, ...rows] = table.stdout.trim().split('\n');
    expect(header).toMatch(/^Name +Location +Size +Created$/);
    expect(rows.map((row) => row.split(/ +/)[1])).toEqual([
      `file://${dir.path}/${name}`,
      `s3://cli/both/${name}`,
    ]);

    const json = await runCommand(['ls', '-o=json', ...flags], s3Env(settings));
    expect(JSON.parse(json.stdout)).toMatchObject({
      apiVersion: 'v1',
      kind: 'List',
      items: [
        { metadata: { name: `local-${name}` }, spec: { nodeName: 'node-1' } },
        { metadata: { name: `s3-${name}` }, spec: { nodeName: 's3', s3: { bucket: 'cli', prefix: 'both' } } },
      ],
    });
  });

  it('ends with 3 when S3 refuses: the copy on disk stands, and no secret shows', async () => {
    await using dir = await scratchDir();
    const settings = s3.settings('cli', 'refused');
    const wrong = { ...s3Env(settings), AWS_SECRET_ACCESS_KEY: 'not-the-secret' };
    const args = [...where(dir.path), ...etcdFlags(etcd.settings()), ...s3Flags(settings), '--debug'];
    const { code, stderr } = await runCommand(['save', ...args], wrong);
    expect(code, stderr).toBe(3);
    expect((await readdir(dir.path)).filter((file) => finished.test(file))).toHaveLength(1);
    expect(stderr).toMatch(/^INFO.* saved\./m);
    expect(stderr).toMatch(/^ERRO[\s\S]*why: [\s\S]*do: /m);
    expect(stderr).not.toContain('not-the-secret');
  });

  it('ends with 1 when etcd does not answer, naming address and cure', async () => {
    await using dir = await scratchDir();
    const args = [...where(dir.path), '--etcd-servers=http://127.0.0.1:1'];
    const { code, stderr } = await runCommand(['save', ...args]);
    expect(code).toBe(1);
    expect(stderr).toContain('127.0.0.1:1');
    expect(stderr).toMatch(/^ {2}why: .+\n {2}do: {2}.+/m);
    expect(await readdir(dir.path)).toEqual([]);
  });

  it('tells programs how far it is, and what became of it, with --progress=json', async () => {
    await using dir = await scratchDir();
    const settings = s3.settings('cli', 'json');
    const flags = [...where(dir.path), ...etcdFlags(etcd.settings()), ...s3Flags(settings)];
    const { code, stderr } = await runCommand(['save', '--progress=json', ...flags], s3Env(settings));
    const told = stderr
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(code, stderr).toBe(0);
    for (const store of ['local', 's3']) {
      const bytes = told.flatMap(({ progress }) => (progress?.store === store ? [progress.bytes] : []));
      expect(bytes).toEqual(bytes.toSorted((a, b) => a - b));
      expect(bytes.length).toBeGreaterThan(0);
    }
    expect(told.filter(({ location }) => location !== undefined)).toMatchObject([
      { level: 'info', location: expect.stringMatching(/^file:/) },
      { level: 'info', location: expect.stringMatching(/^s3:/) },
    ]);
    const refused = await runCommand([
      'save',
      '--progress=json',
      ...where(dir.path),
      '--etcd-servers=http://127.0.0.1:1',
    ]);
    expect(refused.code).toBe(1);
    expect(JSON.parse(refused.stderr)).toMatchObject({
      level: 'error',
      code: 'unavailable',
      hint: expect.any(String),
    });
  });

  it('says nothing of a success with --quiet', async () => {
    await using dir = await scratchDir();
    const flags = [...where(dir.path), ...etcdFlags(etcd.settings())];
    expect(await runCommand(['save', '-q', ...flags])).toEqual({ code: 0, stdout: '', stderr: '' });
    expect((await readdir(dir.path)).filter((file) => finished.test(file))).toHaveLength(1);
  });

  it('refuses a learner by name', async () => {
    await using dir = await scratchDir();
    await using cluster = await startEtcd();
    const learner = await cluster.addLearner();
    const flags = etcdFlags({ ...cluster.settings(), endpoints: [learner] });
    const { code, stderr } = await runCommand(['save', ...where(dir.path), ...flags]);
    expect(code).toBe(1);
    expect(stderr).toContain('learner');
  });

  it.each(['3.5', '3.6'] as const)('saves in spite of alarms of etcd %s, and names them', async (version) => {
    await using dir = await scratchDir();
    await using cluster = await startEtcd({ version });
    await cluster.put([['/registry/a', 'b']]);
    for (const alarm of ['NOSPACE', 'CORRUPT'] as const) await cluster.raiseAlarm(alarm);
    const flags = etcdFlags(cluster.settings());
    const { code, stderr } = await runCommand(['save', ...where(dir.path), ...flags]);
    expect({ code, stderr }).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/^WARN.* is not well/m),
    });
    for (const alarm of ['NOSPACE', 'CORRUPT'])
      expect(stderr).toMatch(new RegExp(`why: etcd says: .*${alarm}`));
    expect((await readdir(dir.path)).filter((file) => finished.test(file))).toHaveLength(1);
  });

  it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
    'ends with 130 on %s in mid-stream, with nothing under a final name',
    async (signal) => {
      await using dir = await scratchDir();
      const [endpoint = ''] = etcd.endpoints;
      await using front = await startTcpFront(new URL(endpoint).host);
      front.throttle(2_000_000);
      const flags = etcdFlags({ ...etcd.settings(), endpoints: [`https://${front.endpoint}`] });
      const command = startCommand(['save', ...where(dir.path), ...flags]);
      await command.until(async () => (await readdir(dir.path)).some((file) => file.endsWith('.part')));
      command.child.kill(signal);
      const { code, stderr } = await command.done;
      expect(code, stderr).toBe(130);
      expect(stderr).toContain('Interrupted');
      expect((await readdir(dir.path)).filter((file) => !file.startsWith('.'))).toEqual([]);
    },
  );

  it('takes two signals in a row while S3 hangs', async () => {
    await using dir = await scratchDir();
    await using front = await startFaultFront(s3.url);
    front.setRule(() => 'hang');
    const settings = { ...s3.settings('cli'), endpoint: front.endpoint };
    const args = [...where(dir.path), ...s3Flags(settings)];
    const command = startCommand(['ls', ...args], s3Env(settings));
    await command.until(() => front.requests.length > 0);
    command.child.kill('SIGINT');
    command.child.kill('SIGINT');
    expect((await command.done).code).toBe(130);
  });

  it('never shows half a list for a list: interrupted, ls ends with 130 and an empty stdout', async () => {
    await using dir = await scratchDir();
    await writeFile(join(dir.path, 'on-demand-node-1-1730308816'), Buffer.alloc(1056));
    await using front = await startFaultFront(s3.url);
    front.setRule(() => 'hang');
    const settings = { ...s3.settings('cli'), endpoint: front.endpoint };
    const command = startCommand(['ls', ...where(dir.path), ...s3Flags(settings)], s3Env(settings));
    await command.until(() => front.requests.length > 0);
    command.child.kill('SIGTERM');
    expect(await command.done).toMatchObject({ code: 130, stdout: '' });
  });

  it('lists the disk and ends with 1 when S3 cannot be listed', async () => {
    await using dir = await scratchDir();
    await writeFile(join(dir.path, 'on-demand-node-1-1730308816'), Buffer.alloc(1056));
    const settings = s3.settings('no-such-bucket');
    const { code, stdout, stderr } = await runCommand(
      ['ls', ...where(dir.path), ...s3Flags(settings)],
      s3Env(settings),
    );
    expect(code).toBe(1);
    expect(stdout).toContain('on-demand-node-1-1730308816');
    expect(stderr).toContain('no-such-bucket');
  });

  it('ends quietly when its reader goes away', async () => {
    await using dir = await scratchDir();
    for (let at = 0; at < 3000; at += 1) {
      await writeFile(join(dir.path, `on-demand-node-1-${1_730_000_000 + at}`), Buffer.alloc(1056));
    }
    const command = startCommand(['ls', ...where(dir.path), '-o', 'json']);
    command.child.stdout?.once('data', () => command.child.stdout?.destroy());
    const { code, stderr } = await command.done;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  });
});
