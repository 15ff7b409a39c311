import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { deflateRawSync } from 'node:zlib';
import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { describe, expect, inject, it } from 'vitest';
import { startControlPlane } from '../support/control-plane.ts';
import { type EtcdCluster, startEtcd } from '../support/etcd-server.ts';
import { kubernetesLikeValues } from '../support/filling.ts';
import { s3Kinds, startS3 } from '../support/s3-server.ts';
import { scratchDir } from '../support/scratch.ts';
import { smallDisk } from '../support/small-disk.ts';
import { toolPath } from '../tools/toolbox.ts';

const run = promisify(execFile);

describe('an etcd of the test bed', () => {
  it.each(['3.5', '3.6'] as const)('%s keeps what is put', async (version) => {
    await using etcd = await startEtcd({ version });
    await etcd.put([['a', 'b']]);
    expect(String(await etcd.get('a'))).toBe('b');
    const told = JSON.parse(await answerOf(etcd, '/version')) as { etcdserver: string };
    expect(told.etcdserver).toMatch(new RegExp(`^${version.replace('.', '\\.')}\\.`));
  });

  it.each(['3.5', '3.6'] as const)('%s refuses a client without a certificate', async (version) => {
    await using etcd = await startEtcd({ version });
    expect(await answerOf(etcd, '/health')).toContain('true');
    await expect(answerOf(etcd, '/health', false)).rejects.toMatchObject({
      code: expect.stringMatching(/^(ERR_SSL_|ECONNRESET)/),
    });
  });

  it('has three healthy members, and a learner when asked', async () => {
    await using etcd = await startEtcd({ members: 3 });
    const health = await etcdctl(etcd, 'endpoint', 'health');
    expect(health.match(/is healthy/g)).toHaveLength(3);
    const learner = await etcd.addLearner();
    const line = (await etcdctl(etcd, 'member', 'list')).split('\n').find((one) => one.includes(learner));
    expect(line).toMatch(/true$/);
  });

  it('grows by what is filled in, which compresses by about a half', async () => {
    await using etcd = await startEtcd();
    await etcd.fill(20_000_000);
    // etcd counts what it has written to its file, which it does every 100 ms.
    await expect.poll(() => databaseSize(etcd), { timeout: 10_000 }).toBeGreaterThan(20_000_000);
    const value = kubernetesLikeValues(1_000_000)();
    const ratio = deflateRawSync(value).length / value.length;
    expect(ratio).toBeGreaterThan(0.35);
    expect(ratio).toBeLessThan(0.65);
  });
});

describe('the processes of the test bed', () => {
  it.each(['SIGTERM', 'SIGKILL'] as const)('end with their runner, even by %s', async (signal) => {
    const program = fileURLToPath(new URL('../support/leave-a-server.ts', import.meta.url));
    // What a killed runner leaves on disk, nobody removes: let it be in a folder that this test removes.
    await using scratch = await scratchDir('runner-');
    const runner = spawn(process.execPath, [program], {
      env: { ...process.env, TMPDIR: scratch.path },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [told] = (await once(runner.stdout, 'data')) as [Buffer];
    const pid = Number(String(told));
    expect(await commandOf(pid)).toContain('etcd');
    runner.kill(signal);
    await once(runner, 'close');
    while ((await commandOf(pid)).includes('etcd')) await pause(20);
  });
});

describe('a control plane of the test bed', () => {
  it('serves namespaces and our definition', async () => {
    const kubectl = await toolPath('kubectl');
    const get = (kind: string) =>
      run(kubectl, ['--kubeconfig', inject('kubeconfig'), 'get', kind, '-o', 'name']);
    expect((await get('namespaces')).stdout).toContain('namespace/kube-system');
    expect((await get('crd')).stdout).toContain('etcdsnapshotfiles.k3s.cattle.io');
  });

  it('gives rights by RBAC, and keeps everything over a restart', async () => {
    await using plane = await startControlPlane({ crds: false });
    const account = await plane.serviceAccountKubeconfig('default', 'nobody');
    expect((await plane.kubectl(['get', 'nodes'], account)).stderr).toContain('Forbidden');
    await plane.kubectl(['create', 'configmap', 'kept']);
    await plane.restart();
    expect((await plane.kubectl(['get', 'configmap', 'kept', '-o', 'name'])).stdout).toBe('configmap/kept\n');
  });
});

describe('an S3 server of the test bed', () => {
  it.each(s3Kinds.flatMap((kind) => [false, true].map((tls) => ({ kind, tls }))))(
    '$kind with TLS $tls gives back what was put',
    async (options) => {
      await using s3 = await startS3(options);
      await s3.createBucket('bucket');
      await s3.client().send(new PutObjectCommand({ Bucket: 'bucket', Key: 'key', Body: 'body' }));
      const answer = await s3.client().send(new GetObjectCommand({ Bucket: 'bucket', Key: 'key' }));
      expect(await answer.Body?.transformToString()).toBe('body');
    },
  );
});

describe('a small disk of the test bed', () => {
  it('is full when it is full', async () => {
    await using disk = await smallDisk(1_000_000);
    await writeFile(join(disk.path, 'fits'), Buffer.alloc(500_000));
    await expect(writeFile(join(disk.path, 'more'), Buffer.alloc(1_000_000))).rejects.toMatchObject({
      code: 'ENOSPC',
    });
  });

  it('can be read only', async () => {
    await using disk = await smallDisk(1_000_000, { readOnly: true });
    await expect(writeFile(join(disk.path, 'file'), '')).rejects.toMatchObject({ code: 'EROFS' });
  });
});

async function etcdctl(etcd: EtcdCluster, ...args: string[]): Promise<string> {
  const { caFile, certFile, keyFile } = etcd.settings();
  const flags = [
    `--cacert=${caFile}`,
    `--cert=${certFile}`,
    `--key=${keyFile}`,
    `--endpoints=${etcd.endpoints.join()}`,
  ];
  return (await run(await toolPath('etcdctl'), [...args, ...flags])).stdout;
}

async function databaseSize(etcd: EtcdCluster): Promise<number> {
  const [first] = JSON.parse(await etcdctl(etcd, 'endpoint', 'status', '-w=json')) as [
    { Status: { dbSize: number } },
  ];
  return first.Status.dbSize;
}

async function answerOf(etcd: EtcdCluster, path: string, withCertificate = true): Promise<string> {
  const { certFile = '', keyFile = '' } = etcd.settings();
  const [cert, key] = await Promise.all([readFile(certFile), readFile(keyFile)]);
  return new Promise((resolve, reject) => {
    const sent = request(
      `${etcd.endpoints[0] ?? ''}${path}`,
      { ca: etcd.ca.pem, ...(withCertificate ? { cert, key } : {}) },
      (answer) => {
        let body = '';
        answer.setEncoding('utf8').on('data', (text: string) => {
          body += text;
        });
        answer.once('end', () => resolve(body));
      },
    );
    sent.once('error', reject).end();
  });
}

/** What runs under this id; empty when nothing does, or only its remains. */
async function commandOf(pid: number): Promise<string> {
  return readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
}
