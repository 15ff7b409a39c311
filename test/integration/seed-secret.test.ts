import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { etcdFlags, runCommand } from '../support/command.ts';
import { type ConnectProxy, startConnectProxy } from '../support/connect-proxy.ts';
import { type OperatorScene, startScene } from '../support/operator-scene.ts';
import type { RunningOperator } from '../support/operators.ts';
import { until } from '../support/s3-looks.ts';
import { type S3Server, s3Kinds, startS3 } from '../support/s3-server.ts';
import { type ScratchDir, scratchDir } from '../support/scratch.ts';

/** What the document tells to pass, and nothing else. */
const ONLY = ['--etcd-s3', '--etcd-s3-config-secret=k3s-etcd-snapshot-s3-config'];

/**
 * The user's document, step by step: its example of a Secret pasted as it is, empty values and all, with real keys in
 * place of the two words. What is empty means Amazon, so a server stands in for it behind its own name.
 */
describe.each(s3Kinds)('the Secret of the document, with %s in place of Amazon', (kind) => {
  let scene: OperatorScene;
  let amazon: S3Server;
  let proxy: ConnectProxy;
  let dir: ScratchDir;
  let operator: RunningOperator;
  let example: string;
  beforeAll(async () => {
    [scene, amazon, dir, example] = await Promise.all([
      startScene(),
      startS3({ kind, tls: true, domain: 's3.us-east-1.amazonaws.com' }),
      scratchDir(),
      readFile(new URL('../support/seed-s3-secret.yaml', import.meta.url), 'utf8'),
    ]);
    await amazon.createBucket('bucket');
    proxy = await startConnectProxy({ hosts: { '*': amazon.endpoint } });
  });
  afterAll(async () => {
    await scene?.[Symbol.asyncDispose]();
    await proxy?.[Symbol.asyncDispose]();
    await amazon?.[Symbol.asyncDispose]();
    await dir?.[Symbol.asyncDispose]();
  });

  /** The way to Amazon, which is no setting of S3. */
  const surroundings = () => ({ HTTPS_PROXY: proxy.url, NODE_EXTRA_CA_CERTS: amazon.caFile ?? '' });
  const etcdSnapshot = (command: string, ...flags: string[]) =>
    runCommand(
      [
        ...command.split(' '),
        '--distribution=custom',
        '--node-name=node-1',
        `--dir=${dir.path}`,
        `--kubeconfig=${scene.plane.kubeconfig}`,
        ...(command === 'save' ? etcdFlags(scene.plane.etcd.settings()) : []),
        ...flags,
      ],
      surroundings(),
    );
  const objects = async () => {
    const page = await amazon.client().send(new ListObjectsV2Command({ Bucket: 'bucket' }));
    return (page.Contents ?? []).map(({ Key = '' }) => Key).filter((key) => !key.includes('/.'));
  };

  it('"the Secret need not exist when it is started"', async () => {
    operator = await scene.operator({ node: 'node-2', args: ONLY, env: surroundings() });
    expect(await operator.part('s3', false)).toContain('k3s-etcd-snapshot-s3-config');
    const saved = await etcdSnapshot('save', ...ONLY);
    expect(saved.code, saved.stderr).toBe(3);
    expect(saved.stderr).toContain('there is no such Secret');
  });

  it('"but it is checked whenever a snapshot is saved or listed": pasted with real keys, it works', async () => {
    const pasted = example
      .replace('"AWS_ACCESS_KEY_ID"', JSON.stringify(amazon.accessKey))
      .replace('"AWS_SECRET_ACCESS_KEY"', JSON.stringify(amazon.secretKey));
    expect(pasted.match(/: ""$/gm)).toHaveLength(4);
    const file = join(dir.path, '.secret.yaml');
    await writeFile(file, pasted);
    await scene.cluster.run('apply', '-f', file);

    // Names are of the second, and that of the test before may still last.
    const second = Math.floor(Date.now() / 1_000);
    await until(() => Date.now() >= (second + 1) * 1_000);
    const saved = await etcdSnapshot('save', ...ONLY);
    expect(saved.code, saved.stderr).toBe(0);
    expect(saved.stderr).not.toContain('WARN');
    const [key = ''] = await objects();
    expect(key).toMatch(/^folder\/on-demand-node-1-\d+$/);
    expect(new Set(proxy.targets)).toEqual(new Set(['bucket.s3.us-east-1.amazonaws.com:443']));
    const listed = await etcdSnapshot('ls', ...ONLY);
    expect(listed.stdout).toContain(`s3://bucket/${key}`);

    // The same to somebody who looks from afar.
    const name = key.replace('folder/', '');
    const record = (await scene.cluster.records(name)).find(({ spec }) => spec.nodeName === 's3');
    expect(record?.spec).toMatchObject({
      location: `s3://bucket/${key}`,
      s3: { endpoint: 's3.amazonaws.com', bucket: 'bucket', prefix: 'folder', region: 'us-east-1' },
    });
  });

  it('the operator that was there before takes it up, and deletes what somebody deletes', async () => {
    await operator.part('s3', true);
    const record = (await scene.cluster.records()).find(({ spec }) => spec.nodeName === 's3');
    await scene.cluster.run('delete', 'etcdsnapshotfile', record?.metadata.name ?? '');
    expect(await objects()).toEqual([]);
  });

  it('s3 check passes with it', async () => {
    const checked = await etcdSnapshot('s3 check', ...ONLY);
    expect(checked.code, checked.stdout + checked.stderr).toBe(0);
  });

  it('"if any other flag of S3 is set, the Secret is ignored", with one clear warning', async () => {
    const { code, stderr } = await etcdSnapshot('save', ...ONLY, '--etcd-s3-bucket=other');
    expect(code, stderr).toBe(3);
    expect(stderr.match(/Secret kube-system\/k3s-etcd-snapshot-s3-config is ignored/g)).toHaveLength(1);
    expect(stderr).toContain('--s3-bucket');
    expect(await objects()).toEqual([]);
  });
});
