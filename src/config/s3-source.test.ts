import { X509Certificate } from 'node:crypto';
import { rootCertificates } from 'node:tls';
import { describe, expect, it } from 'vitest';
import type { SnapshotError } from '../errors.ts';
import { parseFlags } from './flags.ts';
import { resolveConfig } from './resolve.ts';
import { ignoredSecret } from './s3-source.ts';
import type { Config, S3Settings } from './types.ts';

function resolve(args: readonly string[], env: Record<string, string> = {}): Config {
  const flags = parseFlags(['save', '--dir=/s', '--s3', ...args]);
  return resolveConfig('save', flags, { env, hostname: 'node-1', cwd: '/', exists: () => false });
}

function settings(args: readonly string[], env: Record<string, string> = {}): S3Settings {
  const { s3 } = resolve(['--s3-bucket=b', ...args], env);
  if (s3.kind !== 'settings') throw new Error(`not settings, but ${s3.kind}`);
  return s3.settings;
}

function problemsOf(args: readonly string[], env: Record<string, string> = {}): string {
  try {
    resolve(args, env);
  } catch (error) {
    const { message, why = '' } = error as SnapshotError;
    return `${message} ${why}`;
  }
  throw new Error('nothing was wrong');
}

describe('the Secret or the flags', () => {
  const secret = '--s3-config-secret=s3-config';

  it('is the Secret when nothing else is set', () => {
    const { s3 } = resolve([secret]);
    expect(s3).toEqual({ kind: 'secret', name: 's3-config' });
    expect(ignoredSecret(s3)).toBeUndefined();
  });

  it.each([
    ['--s3-region=us-east-1'],
    ['--s3-endpoint=s3.amazonaws.com'],
    ['--s3-timeout=300s'],
    ['--s3-insecure=false'],
    ['--s3-folder='],
    ['--s3-bucket-lookup-type=AUTO'],
    ['--s3-retention=3'],
  ])('is the Secret beside %s, which changes nothing', (flag) => {
    expect(resolve([secret, flag]).s3).toEqual({ kind: 'secret', name: 's3-config' });
  });

  it.each([
    ['--s3-timeout=1m', '--s3-timeout'],
    ['--etcd-s3-folder=f', '--s3-folder'],
    ['--s3-skip-ssl-verify', '--s3-skip-ssl-verify'],
    ['--s3-proxy=none', '--s3-proxy'],
    ['--s3-stall-timeout=1m', '--s3-stall-timeout'],
  ])('is the flags when %s is given: the Secret is ignored with one warning', (flag, because) => {
    const { s3 } = resolve([secret, '--s3-bucket=b', flag]);
    expect(s3).toMatchObject({ settings: { bucket: 'b' }, ignored: { name: 's3-config' } });
    const warning = ignoredSecret(s3);
    expect(warning?.message).toBe('Secret kube-system/s3-config is ignored');
    expect(warning?.why).toContain(`--s3-bucket`);
    expect(warning?.why).toContain(because);
    expect(warning?.hint).toContain('only --s3 and --s3-config-secret');
  });

  it.each(['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN'])('counts %s', (variable) => {
    const env = { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'very-secret', [variable]: 'very-secret' };
    const { s3 } = resolve([secret, '--s3-bucket=b'], env);
    expect(s3).toMatchObject({ kind: 'settings' });
    expect(ignoredSecret(s3)?.why).toContain(variable);
    expect(JSON.stringify([s3, ignoredSecret(s3)])).not.toContain('very-secret');
  });

  it('does not fill up from the Secret: what the flags lack is missing', () => {
    expect(problemsOf([secret, '--s3-folder=f'])).toContain('--s3-bucket is missing');
  });

  it('refuses what cannot be the name of a Secret', () => {
    expect(problemsOf(['--s3-config-secret=kube-system/s3'])).toContain('no name of a Secret');
  });

  it('keeps the retention beside either', () => {
    expect(resolve([secret, '--s3-retention=0']).s3Retention).toBe(0);
    expect(resolve(['--s3-bucket=b', '--etcd-s3-retention=7']).s3Retention).toBe(7);
  });
});

describe('settings of S3', () => {
  it('has the defaults of the table', () => {
    expect(settings([])).toEqual({
      endpoint: 's3.amazonaws.com',
      endpointCA: '',
      skipSSLVerify: false,
      insecure: false,
      keys: undefined,
      bucket: 'b',
      region: 'us-east-1',
      folder: '',
      timeoutMs: 300_000,
      stallMs: 30_000,
      proxy: 'environment',
      lookup: 'auto',
      checksums: 'when-required',
      encryption: { kind: 'none' },
      objects: { storageClass: undefined, acl: undefined, tags: new Map() },
    });
  });

  it('takes each setting', () => {
    const key = Buffer.alloc(32).toString('base64');
    expect(
      settings([
        '--s3-stall-timeout=1m',
        '--s3-proxy=none',
        '--s3-bucket-lookup-type=Path',
        '--s3-checksums=when-supported',
        '--s3-sse=SSE-C',
        `--s3-sse-c-key=${key}`,
        '--s3-storage-class=STANDARD_IA',
        '--s3-acl=bucket-owner-full-control',
        '--s3-tags=team=ops, empty=,url=a=b',
      ]),
    ).toMatchObject({
      stallMs: 60_000,
      proxy: 'none',
      lookup: 'path',
      checksums: 'when-supported',
      encryption: { kind: 'sse-c' },
      objects: {
        storageClass: 'STANDARD_IA',
        acl: 'bucket-owner-full-control',
        tags: new Map([
          ['team', 'ops'],
          ['empty', ''],
          ['url', 'a=b'],
        ]),
      },
    });
    expect(settings(['--s3-sse=sse-kms', '--s3-sse-kms-key-id=alias/k']).encryption).toEqual({
      kind: 'sse-kms',
      keyId: 'alias/k',
    });
  });

  it('takes a session token beside the keys, and hides all three and the proxy', () => {
    const found = settings(['--s3-proxy=http://user:hidden@proxy:3128', '--s3-session-token=hidden'], {
      AWS_ACCESS_KEY_ID: 'hidden',
      AWS_SECRET_ACCESS_KEY: 'hidden',
    });
    expect(found.keys?.sessionToken?.reveal()).toBe('hidden');
    expect(JSON.stringify(found)).not.toContain('hidden');
  });

  it.each([
    [{ AWS_ACCESS_KEY_ID: 'a' }, '--s3-access-key is given, and --s3-secret-key is missing'],
    [{ AWS_SECRET_ACCESS_KEY: 'a' }, '--s3-secret-key is given, and --s3-access-key is missing'],
    [{ AWS_SESSION_TOKEN: 'a' }, '--s3-session-token is given, and --s3-access-key is missing'],
  ])('refuses half a pair of keys: %j', (env, text) => {
    expect(problemsOf(['--s3-bucket=b'], env)).toContain(text);
  });

  it('takes a CA as PEM, whatever became of its lines, beside files and base64', () => {
    const [one = '', two = ''] = rootCertificates;
    const folded = two.replaceAll('\n', ' ');
    const { endpointCA } = settings([`--s3-endpoint-ca=${one}\n${folded} /etc/ca.crt`]);
    const items = endpointCA.split(' ');
    expect(items).toHaveLength(3);
    expect(items.at(-1)).toBe('/etc/ca.crt');
    const print = (pem: string) => new X509Certificate(pem).fingerprint256;
    const found = items.slice(0, 2).map((item) => print(Buffer.from(item, 'base64').toString('latin1')));
    expect(found).toEqual([print(one), print(two)]);
  });

  it('refuses PEM that is no certificate as a CA, and does not show it', () => {
    const pem = '-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----\n';
    const text = problemsOf(['--s3-bucket=b', `--s3-endpoint-ca=${pem}`]);
    expect(text).toContain('--s3-endpoint-ca has a PEM block that is no whole certificate');
    expect(text).not.toContain('hush');
  });

  it('refuses a key for sse-c that would travel in the clear', () => {
    const key = Buffer.alloc(32).toString('base64');
    const flags = ['--s3-bucket=b', '--s3-insecure', '--s3-sse=sse-c', `--s3-sse-c-key=${key}`];
    expect(problemsOf(flags)).toContain('in the clear');
  });
});
