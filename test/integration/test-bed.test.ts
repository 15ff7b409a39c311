import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { describe, expect, inject, it } from 'vitest';
import { startEtcd } from '../support/etcd-server.ts';
import { startFaultFront } from '../support/fault-front.ts';
import { s3Kinds, startS3 } from '../support/s3-server.ts';
import { toolPath } from '../tools/toolbox.ts';

const run = promisify(execFile);

describe('the test bed', () => {
  it.each(['3.5', '3.6'] as const)('has an etcd %s that keeps what is put', async (version) => {
    await using etcd = await startEtcd({ version });
    await etcd.put([['a', 'b']]);
    expect(String(await etcd.get('a'))).toBe('b');
  });

  it('has an etcd of three members', async () => {
    await using etcd = await startEtcd({ members: 3 });
    const { caFile, certFile, keyFile } = etcd.settings();
    const flags = [`--cacert=${caFile}`, `--cert=${certFile}`, `--key=${keyFile}`];
    const health = await run(await toolPath('etcdctl'), [
      'endpoint',
      'health',
      `--endpoints=${etcd.endpoints.join()}`,
      ...flags,
    ]);
    expect(health.stdout.match(/is healthy/g)).toHaveLength(3);
  });

  it('has a control plane with our definition', async () => {
    const { stdout } = await run(await toolPath('kubectl'), [
      '--kubeconfig',
      inject('kubeconfig'),
      'get',
      'crd',
      '-o',
      'name',
    ]);
    expect(stdout).toContain('etcdsnapshotfiles.k3s.cattle.io');
  });

  it.each(s3Kinds.flatMap((kind) => [false, true].map((tls) => ({ kind, tls }))))(
    'has $kind, tls $tls',
    async (options) => {
      await using s3 = await startS3(options);
      await s3.createBucket('bucket');
      await s3.client().send(new PutObjectCommand({ Bucket: 'bucket', Key: 'key', Body: 'body' }));
      const answer = await s3.client().send(new GetObjectCommand({ Bucket: 'bucket', Key: 'key' }));
      expect(await answer.Body?.transformToString()).toBe('body');
    },
  );

  it('has a front whose faults are what they say', async () => {
    await using s3 = await startS3({ kind: 'versitygw' });
    await using front = await startFaultFront(s3.url);
    expect((await fetch(front.url)).status).toBe(403);
    front.setRule(() => ({ status: 503, body: 'later' }));
    expect(await (await fetch(front.url)).text()).toBe('later');
    front.setRule(() => ({ cutAfterResponseBytes: 10 }));
    await expect(fetch(front.url).then((answer) => answer.text())).rejects.toThrow();
    front.setRule(() => 'hang');
    await expect(fetch(front.url, { signal: AbortSignal.timeout(200) })).rejects.toMatchObject({
      name: 'TimeoutError',
    });
    expect(front.requests).toHaveLength(4);
  });
});
