import { readFileSync } from 'node:fs';
import { rootCertificates } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { loadS3Secret } from './load-s3-secret.ts';
import { type ConfigMapContent, parseS3Secret, unusableSecret } from './s3-secret.ts';

const [one = '', two = '', three = ''] = rootCertificates;
const never = new AbortController().signal;
const base64 = (text: string) => Buffer.from(text).toString('base64');

function secret(values: Record<string, string>) {
  const data = Object.fromEntries(Object.entries(values).map(([key, value]) => [key, base64(value)]));
  return { name: 's3-config', data };
}

function configMap(parts: Partial<ConfigMapContent>): ConfigMapContent {
  return { name: 's3-ca', data: {}, binaryData: {}, ...parts };
}

const named = { 'etcd-s3-bucket': 'b', 'etcd-s3-endpoint-ca-name': 's3-ca' };

describe('parseS3Secret', () => {
  it('takes the example of the seed document as it is, empty values and all', () => {
    const example = parse(
      readFileSync(new URL('../../test/support/seed-s3-secret.yaml', import.meta.url), 'utf8'),
    ) as { stringData: Record<string, string> };
    const parsed = parseS3Secret(secret(example.stringData), undefined);
    expect(parsed).toMatchObject({ problems: [], notes: [], caConfigMapName: undefined });
    expect(parsed.settings).toMatchObject({
      endpoint: 's3.amazonaws.com',
      endpointCA: '',
      skipSSLVerify: false,
      insecure: false,
      bucket: 'bucket',
      folder: 'folder',
      region: 'us-east-1',
      timeoutMs: 300_000,
      proxy: 'environment',
    });
    expect(parsed.settings?.keys?.accessKey.reveal()).toBe('AWS_ACCESS_KEY_ID');
    expect(parsed.settings?.keys?.secretKey.reveal()).toBe('AWS_SECRET_ACCESS_KEY');
  });

  it('takes empty and blank values for missing ones, and cuts line ends', () => {
    const empty = { 'etcd-s3-endpoint': '', 'etcd-s3-region': ' \n', 'etcd-s3-access-key': '' };
    expect(parseS3Secret(secret({ ...empty, 'etcd-s3-bucket': 'b\n' }), undefined).settings).toMatchObject({
      endpoint: 's3.amazonaws.com',
      region: 'us-east-1',
      keys: undefined,
      bucket: 'b',
    });
  });

  it('reports every wrong key at once, by name and without its value', () => {
    const wrong = {
      'etcd-s3-insecure': 'hidden-maybe',
      'etcd-s3-timeout': 'hidden-five',
      'etcd-s3-endpoint': 'hidden host',
      'etcd-s3-secret-key': 'hidden key',
      'etcd-s3-bucket-lookup-type': 'hidden',
      'etcd-s3-retention': 'hidden',
      'etcd-s3-folder': 'hidden/../..',
      'etcd-s3-region': 'hidden region',
      'etcd-s3-proxy': 'hidden',
      'etcd-s3-endpoint-ca': '/etc/hidden.crt',
      'etcd-s3-sse': 'hidden',
      'etcd-s3-tags': 'hidden',
    };
    const { settings, problems } = parseS3Secret(secret(wrong), undefined);
    expect(settings).toBeUndefined();
    const error = unusableSecret('s3-config', problems);
    expect(error.message).toContain('kube-system/s3-config');
    for (const key of [...Object.keys(wrong), 'etcd-s3-bucket']) {
      expect(error.why, key).toMatch(new RegExp(`\\n {2}- ${key}\\b`));
    }
    expect(error.why).toContain('etcd-s3-access-key is missing');
    expect(JSON.stringify([problems, error.why, error.hint])).not.toContain('hidden');
  });

  it('reads retention, session token and the other newer keys', () => {
    const parsed = parseS3Secret(
      secret({
        'etcd-s3-bucket': 'b',
        'etcd-s3-retention': '7',
        'etcd-s3-access-key': 'a',
        'etcd-s3-secret-key': 's',
        'etcd-s3-session-token': 't',
        'etcd-s3-bucket-lookup-type': 'dns',
        'etcd-s3-stall-timeout': '1m',
      }),
      undefined,
    );
    expect(parsed).toMatchObject({ retention: 7, settings: { lookup: 'dns', stallMs: 60_000 } });
    expect(parsed.settings?.keys?.sessionToken?.reveal()).toBe('t');
  });

  it('notes keys that are no setting, those of the source among them', () => {
    const { notes, problems } = parseS3Secret(
      secret({ 'etcd-s3-bucket': 'b', 'etcd-s3-buckte': 'x', 'etcd-s3': 'true' }),
      undefined,
    );
    expect(problems).toEqual([]);
    expect(notes.map(({ what }) => what)).toEqual([
      expect.stringContaining('etcd-s3-buckte is no setting'),
      expect.stringContaining('etcd-s3 is no setting'),
    ]);
  });
});

describe('the CA of a Secret', () => {
  const decoded = (list = '') =>
    list.split(' ').map(
      (item) =>
        Buffer.from(item, 'base64')
          .toString()
          .match(/BEGIN CERT/g)?.length,
    );

  it('is PEM inline, or base64 of it, and no key comes along', () => {
    const pem = `# ours\n${one}\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n${two}\n`;
    for (const value of [pem, base64(pem)]) {
      const { settings } = parseS3Secret(
        secret({ 'etcd-s3-bucket': 'b', 'etcd-s3-endpoint-ca': value }),
        undefined,
      );
      expect(decoded(settings?.endpointCA)).toEqual([2]);
      expect(Buffer.from(settings?.endpointCA ?? '', 'base64').toString()).not.toContain('PRIVATE');
    }
  });

  it('is every bundle in data and binaryData of the ConfigMap, beside the one inline', () => {
    const { settings } = parseS3Secret(
      secret({ ...named, 'etcd-s3-endpoint-ca': one }),
      configMap({
        data: { 'b.crt': `${two}\n${three}`, 'README.md': 'about these' },
        binaryData: { 'a.crt': base64(three) },
      }),
    );
    expect(decoded(settings?.endpointCA)).toEqual([1, 1, 2]);
  });

  it('is noted when the ConfigMap is missing, and the rest holds', () => {
    const { settings, notes } = parseS3Secret(secret(named), undefined);
    expect(settings?.endpointCA).toBe('');
    expect(notes).toMatchObject([{ what: expect.stringContaining('kube-system/s3-ca') }]);
  });

  it.each([
    [configMap({}), 'holds no certificate'],
    [configMap({ data: { 'a.crt': `${one.slice(0, 200)}\n-----END CERTIFICATE-----` } }), 'cannot be read'],
    [configMap({ data: { 'a.key': '-----BEGIN PRIVATE KEY-----' } }), 'has no certificate in it'],
  ])('is wrong when the ConfigMap has none', (map, text) => {
    const { settings, problems } = parseS3Secret(secret(named), map);
    expect(settings).toBeUndefined();
    expect(problems).toMatchObject([{ what: expect.stringMatching(new RegExp(`s3-ca.*${text}`)) }]);
  });
});

describe('loadS3Secret', () => {
  const reader = (found: Record<string, string> | undefined, map: ConfigMapContent | undefined) => {
    const asked: string[] = [];
    return {
      asked,
      secret: async (name: string) => {
        asked.push(`secret ${name}`);
        return found === undefined ? undefined : secret(found);
      },
      configMap: async (name: string) => {
        asked.push(`configMap ${name}`);
        return map;
      },
    };
  };

  it('names the Secret that is missing, and the cure', async () => {
    await expect(loadS3Secret(reader(undefined, undefined), 's3-config', never)).rejects.toMatchObject({
      code: 'not-found',
      message: expect.stringContaining('kube-system/s3-config'),
      hint: expect.stringContaining('--s3-config-secret'),
    });
  });

  it('asks for the ConfigMap that the Secret names, and for none otherwise', async () => {
    const with1 = reader(named, configMap({ data: { ca: one } }));
    expect((await loadS3Secret(with1, 's3-config', never)).settings.endpointCA).not.toBe('');
    expect(with1.asked).toEqual(['secret s3-config', 'configMap s3-ca']);
    const without = reader({ 'etcd-s3-bucket': 'b' }, undefined);
    expect(await loadS3Secret(without, 's3-config', never)).toMatchObject({ warnings: [] });
    expect(without.asked).toEqual(['secret s3-config']);
  });

  it('warns of a missing ConfigMap', async () => {
    const { warnings } = await loadS3Secret(reader(named, undefined), 's3-config', never);
    expect(warnings).toMatchObject([{ code: 'usage', message: expect.stringContaining('s3-ca') }]);
  });

  it('refuses wrong keys', async () => {
    await expect(loadS3Secret(reader({}, undefined), 's3-config', never)).rejects.toMatchObject({
      code: 'usage',
      why: expect.stringContaining('etcd-s3-bucket is missing'),
    });
  });
});
