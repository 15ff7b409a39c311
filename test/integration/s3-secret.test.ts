import { readdir, readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { parse } from 'yaml';
import { connect, type KubeClient } from '../../src/kube/client.ts';
import { createSecretsApi } from '../../src/kube/secrets-api.ts';
import { etcdFlags, runCommand } from '../support/command.ts';
import { startConnectProxy } from '../support/connect-proxy.ts';
import { type EtcdCluster, startEtcd } from '../support/etcd-server.ts';
import { type S3Server, s3Kinds, startS3 } from '../support/s3-server.ts';
import { type ScratchDir, scratchDir } from '../support/scratch.ts';

const never = new AbortController().signal;
const kubeconfig = inject('kubeconfig');

let kube: KubeClient;
let etcd: EtcdCluster;
let dir: ScratchDir;
beforeAll(async () => {
  [kube, etcd, dir] = await Promise.all([connect(kubeconfig), startEtcd(), scratchDir()]);
});
afterAll(async () => {
  await kube?.[Symbol.asyncDispose]();
  await etcd?.[Symbol.asyncDispose]();
  await dir?.[Symbol.asyncDispose]();
});

const create = (kind: 'secrets' | 'configmaps', body: object) =>
  kube.request({ method: 'POST', path: `/api/v1/namespaces/kube-system/${kind}`, body, signal: never });

/** The example of the seed document, every empty value as it stands there, with a name and what differs. */
async function createSecret(name: string, values: Record<string, string>): Promise<void> {
  const text = await readFile(new URL('../support/seed-s3-secret.yaml', import.meta.url), 'utf8');
  const example = parse(text) as { metadata: object; stringData: Record<string, string> };
  await create('secrets', {
    ...example,
    metadata: { ...example.metadata, name },
    stringData: { ...example.stringData, ...values },
  });
}

const common = () => ['--distribution=custom', '--node-name=node-1', `--dir=${dir.path}`];
const save = (flags: readonly string[], env: Record<string, string> = {}) =>
  runCommand(['save', ...common(), ...etcdFlags(etcd.settings()), ...flags], env);
const from = (name: string) => ['--etcd-s3', `--etcd-s3-config-secret=${name}`, `--kubeconfig=${kubeconfig}`];
const files = async () => (await readdir(dir.path)).filter((file) => !file.startsWith('.'));

describe.each(s3Kinds)('settings from a Secret, with %s over TLS', (kind) => {
  let s3: S3Server;
  let values: Record<string, string>;
  beforeAll(async () => {
    s3 = await startS3({ kind, tls: true });
    await s3.createBucket('bucket');
    values = {
      'etcd-s3-endpoint': s3.endpoint,
      'etcd-s3-access-key': s3.accessKey,
      'etcd-s3-secret-key': s3.secretKey,
    };
  });
  afterAll(() => s3?.[Symbol.asyncDispose]());

  it('takes the example of the seed as it stands, but for the keys: Amazon by its own names', async () => {
    await using amazon = await startS3({ kind, tls: true, domain: 's3.us-east-1.amazonaws.com' });
    await amazon.createBucket('bucket');
    await using proxy = await startConnectProxy({ hosts: { '*': amazon.endpoint } });
    const name = `seed-${kind}`;
    await createSecret(name, {
      'etcd-s3-access-key': amazon.accessKey,
      'etcd-s3-secret-key': amazon.secretKey,
    });
    const env = { HTTPS_PROXY: proxy.url, NODE_EXTRA_CA_CERTS: amazon.caFile ?? '' };
    const saved = await save(from(name), env);
    expect(saved.code, saved.stderr).toBe(0);
    expect(saved.stderr).toContain('s3://bucket/folder/on-demand-node-1-');
    const listed = await runCommand(['ls', ...common(), ...from(name)], env);
    expect(listed.stdout).toContain('s3://bucket/folder/on-demand-node-1-');
    expect(new Set(proxy.targets)).toEqual(new Set(['bucket.s3.us-east-1.amazonaws.com:443']));
  });

  it('saves and lists with the CA inline', async () => {
    const name = `inline-${kind}`;
    await createSecret(name, { ...values, 'etcd-s3-endpoint-ca': s3.ca?.pem ?? '' });
    const saved = await save(from(name));
    expect(saved.code, saved.stderr).toBe(0);
    expect(saved.stderr).not.toContain('WARN');
    const listed = await runCommand(['ls', '-o', 'json', ...common(), ...from(name)]);
    expect(listed.code, listed.stderr).toBe(0);
    expect(JSON.parse(listed.stdout).items).toContainEqual(
      expect.objectContaining({
        spec: expect.objectContaining({
          s3: expect.objectContaining({ bucket: 'bucket', prefix: 'folder' }),
        }),
      }),
    );
  });

  it('takes the CA from the ConfigMap that it names, from data and binaryData', async () => {
    const pem = s3.ca?.pem ?? '';
    for (const [part, content] of [
      ['data', pem],
      ['binaryData', Buffer.from(pem).toString('base64')],
    ] as const) {
      const name = `named-${part.toLowerCase()}-${kind}`;
      await create('configmaps', { metadata: { name }, [part]: { 'ca.crt': content } });
      await createSecret(name, { ...values, 'etcd-s3-endpoint-ca-name': name });
      const listed = await runCommand(['ls', ...common(), ...from(name)]);
      expect(listed, listed.stderr).toMatchObject({ code: 0, stderr: '' });
      const { stderr } = await runCommand(['ls', ...common(), ...from(name), '--debug']);
      expect(stderr).toMatch(/^DEBU.*CN=s3 CA \(of a base64 bundle of --s3-endpoint-ca, until 20/m);
      expect(stderr).not.toContain(s3.secretKey);
    }
  });

  it('warns of a ConfigMap that is missing, and tells what came of it', async () => {
    const name = `no-map-${kind}`;
    await createSecret(name, { ...values, 'etcd-s3-endpoint-ca-name': 'no-such-map' });
    const { code, stderr } = await runCommand(['ls', ...common(), ...from(name)]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^WARN.*no-such-map.*does not exist/m);
    expect(stderr).toMatch(/^ERRO[\s\S]*not signed by a CA/m);
  });

  it('ignores it with one warning beside any other setting', async () => {
    const flags = [...from('never-read'), `--s3-endpoint=${s3.endpoint}`, '--s3-bucket=bucket'];
    const keys = { AWS_ACCESS_KEY_ID: s3.accessKey, AWS_SECRET_ACCESS_KEY: s3.secretKey };
    const ca = `--s3-endpoint-ca=${s3.caFile ?? ''}`;
    const { code, stderr } = await runCommand(['ls', ...common(), ...flags, ca], keys);
    expect(code, stderr).toBe(0);
    expect(stderr.match(/^WARN/gm)).toHaveLength(1);
    expect(stderr).toContain('Secret kube-system/never-read is ignored');
    expect(stderr).toContain('AWS_ACCESS_KEY_ID');
  });
});

describe('a Secret that cannot be used', () => {
  it('is missing: the copy on disk stands, exit code 3, and the error names Secret and cure', async () => {
    const before = await files();
    const { code, stderr } = await save(from('no-such-secret'));
    expect(code, stderr).toBe(3);
    expect(await files()).toHaveLength(before.length + 1);
    expect(stderr).toMatch(/^ERRO.*kube-system\/no-such-secret/m);
    expect(stderr).toContain('do:  Make it');
  });

  it('has wrong keys: all are told at once, and no value', async () => {
    await createSecret('wrong-keys', {
      'etcd-s3-bucket': '',
      'etcd-s3-timeout': 'hidden-a',
      'etcd-s3-insecure': 'hidden-b',
      'etcd-s3-secret-key': 'hidden c',
    });
    const { code, stderr } = await runCommand(['ls', ...common(), ...from('wrong-keys'), '--debug']);
    expect(code, stderr).toBe(1);
    for (const key of ['bucket', 'timeout', 'insecure', 'secret-key']) {
      expect(stderr).toContain(`- etcd-s3-${key}`);
    }
    expect(stderr).not.toContain('hidden');
  });

  it('cannot be read without a kubeconfig', async () => {
    const none = await save(['--s3', '--s3-config-secret=any']);
    expect(none.code, none.stderr).toBe(3);
    expect(none.stderr).toContain('--kubeconfig');
  });
});

it('reads Secrets and ConfigMaps that have no data', async () => {
  await create('secrets', { metadata: { name: 'bare' } });
  await create('configmaps', { metadata: { name: 'bare' } });
  const api = createSecretsApi(kube);
  expect(await api.secret('bare', never)).toEqual({ name: 'bare', data: {} });
  expect(await api.configMap('bare', never)).toEqual({ name: 'bare', data: {}, binaryData: {} });
  expect(await api.secret('none', never)).toBeUndefined();
  expect(await api.configMap('none', never)).toBeUndefined();
});
