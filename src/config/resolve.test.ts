import { describe, expect, it } from 'vitest';
import type { SnapshotError } from '../errors.ts';
import { parseFlags } from './flags.ts';
import { resolveConfig, type Surroundings } from './resolve.ts';
import type { Config } from './types.ts';

const bare: Surroundings = { env: {}, hostname: 'Node-1', exists: () => false };
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
      s3: undefined,
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
    expect(config.s3).toMatchObject({
      endpoint: 's3.amazonaws.com',
      region: 'us-east-1',
      bucket: 'b',
      folder: 'a/b',
      timeoutMs: 300_000,
    });
    expect(config.s3?.secretKey.reveal()).toBe('very-secret');
    expect(JSON.stringify(config)).not.toContain('very-secret');
  });

  it.each([
    ['https://s3.example.com/', 's3.example.com'],
    ['s3.example.com:9000', 's3.example.com:9000'],
    ['[::1]:9000', '[::1]:9000'],
  ])('takes the endpoint %s', (given, endpoint) => {
    const config = resolve(['--dir=/s', '--s3', '--s3-bucket=b', `--s3-endpoint=${given}`], {
      ...bare,
      env: keys,
    });
    expect(config.s3?.endpoint).toBe(endpoint);
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
    for (const part of [
      '"more"',
      'k8s',
      '--name "../x"',
      '--s3-bucket',
      'AWS_ACCESS_KEY_ID',
      'says http',
      'is no server',
    ]) {
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

  it('needs nothing of etcd to list', () => {
    expect(resolve(['--dir=/s', '-o', 'yaml'], bare, 'ls').output).toBe('yaml');
  });
});
