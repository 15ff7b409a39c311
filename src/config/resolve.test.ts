import { describe, expect, it } from 'vitest';
import type { SnapshotError } from '../errors.ts';
import { parseFlags } from './flags.ts';
import { resolveConfig, type Surroundings } from './resolve.ts';
import type { Config, S3Settings } from './types.ts';

const bare: Surroundings = { env: {}, hostname: 'Node-1', cwd: '/srv', exists: () => false };
const on = (...paths: string[]): Surroundings => ({ ...bare, exists: (path) => paths.includes(path) });

function resolve(args: readonly string[], around = bare, command: 'save' | 'ls' = 'save'): Config {
  return resolveConfig(command, parseFlags([command, ...args]), around);
}

function problemsOf(args: readonly string[], around = bare): SnapshotError {
  try {
    resolve(args, around);
  } catch (error) {
    return error as SnapshotError;
  }
  throw new Error('nothing was wrong');
}

function settingsOf({ s3 }: Config): S3Settings | undefined {
  return s3.kind === 'settings' ? s3.settings : undefined;
}

const keys = { AWS_ACCESS_KEY_ID: 'AKIA', AWS_SECRET_ACCESS_KEY: 'very-secret' };

describe('resolveConfig', () => {
  it('finds K3s by its folder, with its paths, kubeconfig and token', () => {
    const config = resolve([], on('/var/lib/rancher/k3s/server', '/etc/rancher/k3s/k3s.yaml'));
    expect(config).toMatchObject({
      distribution: 'k3s',
      nodeName: 'node-1',
      snapshotDir: '/var/lib/rancher/k3s/server/db/snapshots',
      snapshotDirIsDefault: true,
      snapshotName: 'on-demand',
      kubeconfig: '/etc/rancher/k3s/k3s.yaml',
      tokenFile: '/var/lib/rancher/k3s/server/token',
      s3: { kind: 'off' },
      s3Retention: undefined,
      etcd: {
        endpoints: ['https://127.0.0.1:2379'],
        caFile: '/var/lib/rancher/k3s/server/tls/etcd/server-ca.crt',
        certFile: '/var/lib/rancher/k3s/server/tls/etcd/client.crt',
      },
    });
  });

  it.each([
    ['rke2', on('/var/lib/rancher/rke2/server'), '/var/lib/rancher/rke2/server/db/snapshots'],
    ['kubeadm', on('/etc/kubernetes/pki/etcd'), '/var/lib/etcd-snapshots'],
  ])('finds %s', (distribution, around, snapshotDir) => {
    expect(resolve([], around)).toMatchObject({ distribution, snapshotDir });
  });

  it('lets a flag beat the environment, and the environment the default', () => {
    const around = { ...bare, env: { K3S_NODE_NAME: 'from-env', NODE_NAME: 'second' } };
    expect(resolve(['--dir=/s'], around).nodeName).toBe('from-env');
    expect(resolve(['--dir=/s', '--node-name=from-flag'], around).nodeName).toBe('from-flag');
  });

  it('takes the keys of S3 from the environment and never shows them', () => {
    const config = resolve(['--dir=/s', '--s3', '--s3-bucket=b', '--s3-folder=/a/b/'], {
      ...bare,
      env: keys,
    });
    expect(settingsOf(config)).toMatchObject({
      endpoint: 's3.amazonaws.com',
      region: 'us-east-1',
      bucket: 'b',
      folder: 'a/b',
      timeoutMs: 300_000,
    });
    expect(settingsOf(config)?.keys?.secretKey.reveal()).toBe('very-secret');
    expect(JSON.stringify(config)).not.toContain('very-secret');
  });

  it.each([
    ['https://s3.example.com/', 's3.example.com'],
    ['s3.example.com:9000', 's3.example.com:9000'],
    ['[::1]:9000', '[::1]:9000'],
    ['fd00::1', '[fd00::1]'],
  ])('takes the endpoint %s', (given, endpoint) => {
    const config = resolve(['--dir=/s', '--s3', '--s3-bucket=b', `--s3-endpoint=${given}`], {
      ...bare,
      env: keys,
    });
    expect(settingsOf(config)?.endpoint).toBe(endpoint);
  });

  it('reports everything that is wrong at once', () => {
    const error = problemsOf([
      '--s3',
      '--name=../x',
      '--distribution=k8s',
      '--s3-endpoint=http://h/p',
      'more',
    ]);
    expect(error.code).toBe('usage');
    for (const part of ['takes only flags', 'k8s', '--name "../x"', '--s3-bucket', 'is no server']) {
      expect(error.why).toContain(part);
    }
  });

  it.each([
    [['--dir=/s', `--name=${'x'.repeat(300)}`], 'is the most'],
    [['--dir=/s', '--name=a/b'], 'path separator'],
    [['--dir=/s', '--name=nul\0'], 'control character'],
    [['--dir=/s', '--name='], 'is empty'],
    [['--dir=/s', '--s3-bucket=b'], 'S3 is off'],
    [['--dir=/s', '--output=json'], 'no meaning for save'],
    [[], '--dir is missing'],
  ])('refuses %j', (args, text) => {
    const error = problemsOf(args);
    expect(`${error.message} ${error.why ?? ''}`).toContain(text);
    expect(error.hint).toBeDefined();
  });

  it('keeps upper case and underscores in names', () => {
    expect(resolve(['--dir=/s', '--name=Pre_Upgrade']).snapshotName).toBe('Pre_Upgrade');
  });

  it('lets one set of flags stand before both commands', () => {
    expect(resolve(['--dir=/s', '--etcd-servers=https://h:2379', '--name=x'], bare, 'ls').snapshotDir).toBe(
      '/s',
    );
  });

  it('takes the flags of k3s about its server, warns that they do nothing, and shows no token', () => {
    const { warnings } = resolve([
      '--dir=/s',
      '-s',
      'https://h:6443',
      '-t=very-secret',
      '-l',
      '/log',
      '--alsologtostderr',
    ]);
    expect(warnings.map(({ message }) => message)).toEqual(
      ['etcd-server', 'etcd-token', 'log', 'alsologtostderr'].map((flag) => `--${flag} does nothing here`),
    );
    expect(JSON.stringify(warnings)).not.toContain('very-secret');
  });

  it('takes --s3=false as meant, whatever S3 flags there are', () => {
    expect(resolve(['--dir=/s', '--s3=false', '--s3-bucket=b']).s3).toEqual({ kind: 'off' });
  });

  it('refuses a node whose records would pass for copies on S3', () => {
    expect(problemsOf(['--dir=/s', '--node-name=s3']).message).toContain('--node-name "s3"');
  });

  it('needs nothing of etcd to list', () => {
    expect(resolve(['--dir=/s', '-o', 'yaml'], bare, 'ls').output).toBe('yaml');
  });

  it('starts a relative folder from the working directory, so that locations are absolute', () => {
    expect(resolve(['--dir=backup'])).toMatchObject({
      snapshotDir: '/srv/backup',
      snapshotDirIsDefault: false,
    });
  });

  it('takes an empty value for none', () => {
    const config = resolve(['--dir=', '--s3', '--s3-bucket=b', '--s3-endpoint=', '--s3-region='], {
      ...on('/var/lib/rancher/k3s/server'),
      env: keys,
    });
    expect(config).toMatchObject({
      snapshotDirIsDefault: true,
      s3: { settings: { endpoint: 's3.amazonaws.com', region: 'us-east-1' } },
    });
  });

  it.each([
    ['k3s', on('/data/server')],
    ['rke2', on('/data/server', '/etc/rancher/rke2')],
  ])('finds %s in a data folder that was moved', (distribution, around) => {
    expect(resolve(['--data-dir=/data'], around)).toMatchObject({
      distribution,
      snapshotDir: '/data/server/db/snapshots',
      tokenFile: '/data/server/token',
    });
  });

  it('keeps the time limit of S3 within what a timer can count', () => {
    const args = ['--dir=/s', '--s3', '--s3-bucket=b', '--s3-timeout=10000h'];
    expect(settingsOf(resolve(args, { ...bare, env: keys }))?.timeoutMs).toBe(2 ** 31 - 1);
  });

  it.each([
    [['--s3-endpoint=http://h'], 'says http'],
    [['--s3-endpoint=https://h', '--s3-insecure'], 'says https'],
    [['--s3-endpoint=https://h/path'], 'is no server'],
    [['--s3-endpoint=https://u:very-secret@h'], '--s3-endpoint is no server'],
    [['--s3-endpoint=h:99999'], 'is no server'],
    [['--s3-endpoint=[::1'], 'is no server'],
    [['--s3-bucket=b/folder'], 'is no bucket'],
    [['--s3-region=eu west'], 'is no region'],
    [['--s3-proxy=very-secret:3128'], '--s3-proxy is no proxy'],
    [['--s3-proxy=socks5://very-secret@h'], '--s3-proxy is no proxy'],
    [['--s3-secret-key=very-secret two'], '--s3-secret-key has blanks'],
    [['--s3-sse-kms-key-id=k'], '--s3-sse is not sse-kms'],
    [['--s3-sse=sse-c'], '--s3-sse-c-key is missing'],
    [['--s3-sse=sse-c', '--s3-sse-c-key=very-secret'], '--s3-sse-c-key is no key'],
    [['--s3-sse-c-key=very-secret'], '--s3-sse is not sse-c'],
    [['--s3-storage-class=A B'], 'is no storage class'],
    [['--s3-acl=public-read'], 'is not one of private'],
    [['--s3-tags=a'], 'is no tag'],
    [['--s3-tags=a=b&c'], 'is no tag'],
    [['--s3-tags=a=1,a=2'], 'is there twice'],
    [[`--s3-tags=${Array.from({ length: 11 }, (_, at) => `t${at}=`).join(',')}`], '11 tags'],
    [['--s3-folder=a/../b'], 'means another folder'],
    [['--etcd-servers=127.0.0.1:2379'], 'is no address of etcd'],
    [['--etcd-servers=https://u:very-secret@h'], '--etcd-servers is no address'],
    [['--etcd-certfile=c'], 'belong together'],
    [['--node-name=a/b'], '--node-name "a/b": it contains a path separator'],
    [['very-secret'], 'one word is too many'],
  ])('refuses %j beside S3, by name', (args, text) => {
    const error = problemsOf(['--dir=/s', '--s3', '--s3-bucket=b', ...args], { ...bare, env: keys });
    expect(error.code).toBe('usage');
    expect(error.message).toContain(text);
    expect(`${error.message} ${error.why ?? ''} ${error.hint ?? ''}`).not.toContain('very-secret');
  });
});

describe('s3 check', () => {
  const check = (...args: string[]) => resolveConfig('s3', parseFlags(['s3', 'check', ...args]), bare);

  it('needs neither --s3 nor a folder of snapshots, and takes the flags of save', () => {
    expect(settingsOf(check('--s3-bucket=b', '--name=x', '-o', 'json'))).toMatchObject({ bucket: 'b' });
    expect(check('--s3-config-secret=it').s3).toEqual({ kind: 'secret', name: 'it' });
  });

  it('has nothing to do without S3, and takes no words', () => {
    expect(() => check('--s3=false')).toThrow('--s3=false leaves nothing to check');
    expect(() => check('--s3-bucket=b', 'more')).toThrow('s3 takes the word check');
  });
});
