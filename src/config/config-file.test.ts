import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { s3Of, useConfigFolder } from '../../test/support/config-folder.ts';
import { readConfigFiles } from './config-file.ts';
import { configPathOf } from './distribution.ts';
import { parseFlags } from './flags.ts';
import { resolveConfig } from './resolve.ts';
import { ignoredSecret } from './s3-source.ts';

const { dir, main, write, resolve, problemOf } = useConfigFolder();

/** As servers have it: much that is none of our business, and every kind of value. */
const server = `
# first server
cluster-init: true
token: very-secret
write-kubeconfig-mode: "0644"
tls-san:
  - k3s.example.com
  - 10.0.0.10
node-label: [a=b, "c=d"]
node-name: server-1
debug: false
kube-apiserver-arg: ["audit-log-maxage=30"]
etcd-disable-snapshots: true
etcd-snapshot-name: nightly
etcd-snapshot-schedule-cron: "0 */6 * * *"
etcd-snapshot-retention: 7
etcd-snapshot-compress: yes
etcd-snapshot-dir: /backup
etcd-s3: true
etcd-s3-endpoint: s3.example.com
etcd-s3-bucket: backups
etcd-s3-folder: 0123
etcd-s3-access-key: AKIA
etcd-s3-secret-key: very-secret
etcd-s3-timeout: 1m30s
etcd-s3-skip-ssl-verify: false
etcd-s3-proxy: ""
`;

describe('the config file of a server', () => {
  beforeEach(() => write({ 'config.yaml': server }));

  it('gives save its settings, and says what it skipped', async () => {
    const flags = parseFlags(['save', `-c=${main()}`]);
    const around = { env: {}, hostname: 'h', cwd: '/', exists: () => false };
    const config = resolveConfig('save', flags, around, await readConfigFiles('save', flags.given, around));
    expect(config).toMatchObject({
      nodeName: 'server-1',
      snapshotDir: '/backup',
      snapshotDirIsDefault: false,
      // The schedule's name is the server's own: k3s's command line does not take it either.
      snapshotName: 'on-demand',
      compress: true,
      s3: {
        settings: {
          endpoint: 's3.example.com',
          bucket: 'backups',
          folder: '0123',
          timeoutMs: 90_000,
          proxy: 'environment',
        },
      },
    });
    expect(s3Of(config).keys?.secretKey.reveal()).toBe('very-secret');
    expect(config.skippedKeys).toMatch(/^Skipped, .*: write-kubeconfig-mode, .* in \/.*config\.yaml$/);
    expect(config.warnings).toEqual([]);
    expect(JSON.stringify(config)).not.toContain('very-secret');
  });

  it('gives prune the retention, and the operator the schedule, for it takes over what the server was told to leave', async () => {
    expect((await resolve([], { command: 'prune' })).retention).toBe(7);
    const { operator, snapshotName } = await resolve([], { command: 'operator' });
    expect(operator).toMatchObject({ retention: 7, schedule: expect.anything() });
    expect(snapshotName).toBe('nightly');
  });

  it.each(['ls', 'delete', 'prune', 'save', 'operator'] as const)('is fine for %s', async (command) => {
    expect((await resolve(command === 'delete' ? ['x-1'] : [], { command })).s3.kind).toBe('settings');
  });

  it('is beaten by the command line, in either spelling, and beats the environment', async () => {
    const args = ['--s3-bucket=mine', '--etcd-s3-folder=', '--etcd-snapshot-retention=2'];
    const config = await resolve(args, {
      env: { AWS_ACCESS_KEY_ID: 'other', NODE_NAME: 'other' },
      command: 'prune',
    });
    expect(s3Of(config)).toMatchObject({ bucket: 'mine', folder: '0123' });
    expect(s3Of(config).keys?.accessKey.reveal()).toBe('AKIA');
    expect(config).toMatchObject({ retention: 2, nodeName: 'server-1', snapshotDir: '/s' });
  });

  it('is switched off by --s3=false', async () => {
    expect((await resolve(['--s3=false'])).s3).toEqual({ kind: 'off' });
  });
});

describe('the Secret beside a config file', () => {
  it('is ignored when the file sets anything else, and the warning names the key and the file', async () => {
    await write({ 'config.yaml': 'etcd-s3: true\netcd-s3-config-secret: s3-config\netcd-s3-bucket: b\n' });
    const { s3 } = await resolve();
    expect(s3).toMatchObject({ kind: 'settings', settings: { bucket: 'b' }, ignored: { name: 's3-config' } });
    expect(ignoredSecret(s3)?.why).toContain(`etcd-s3-bucket in ${main()}`);
  });

  it('counts when the file names nothing but it, and what equals a default', async () => {
    await write({
      'config.yaml':
        'etcd-s3: true\netcd-s3-config-secret: s3-config\netcd-s3-region: us-east-1\netcd-s3-timeout: 5m\netcd-s3-folder: ""\n',
    });
    expect((await resolve()).s3).toEqual({ kind: 'secret', name: 's3-config' });
  });
});

describe('several files', () => {
  it('come in the order of their names, the later beats the earlier, other names are left alone', async () => {
    await write({
      'config.yaml': 'etcd-s3: true\netcd-s3-bucket: a\netcd-s3-region: r1\netcd-s3-folder: f',
      'config.yaml.d/20.YAML': 'etcd-s3-bucket: c',
      'config.yaml.d/10.yml': 'etcd-s3-bucket: b\ns3-region: r2',
      'config.yaml.d/30.yaml.bak': 'etcd-s3-bucket: d',
      'config.yaml.d/40.yaml/x': '',
    });
    expect(s3Of(await resolve())).toMatchObject({ bucket: 'c', region: 'r2', folder: 'f' });
  });

  it('need no main file', async () => {
    await write({ 'config.yaml.d/a.yaml': 'node-name: n1' });
    expect((await resolve()).nodeName).toBe('n1');
  });

  it('add to a list with key+, and of what can be only one the last counts', async () => {
    await write({
      'config.yaml': 'etcd-servers: https://a:1\nnode-name: n1',
      'config.yaml.d/a.yaml': 'etcd-servers+: [https://b:1, https://c:1]\nnode-name+: n2',
    });
    const { etcd, nodeName } = await resolve();
    expect(etcd.endpoints).toEqual(['https://a:1', 'https://b:1', 'https://c:1']);
    expect(nodeName).toBe('n2');
    expect((await resolve(['--etcd-servers=https://d:1'])).etcd.endpoints).toEqual(['https://d:1']);
  });

  it('take a setting back with an empty value', async () => {
    await write({ 'config.yaml': 'node-name: n1', 'config.yaml.d/a.yaml': 'node-name:\n' });
    expect((await resolve()).nodeName).toBe('node-1');
  });
});

describe('where the file is', () => {
  it.each([
    ['K3S_CONFIG_FILE', 'beats the flag'],
    ['RKE2_CONFIG_FILE', 'beats the flag'],
  ])('%s %s', async (variable) => {
    await write({ 'config.yaml': 'node-name: flag', 'other.yaml': 'node-name: variable' });
    const config = await resolve([], { env: { [variable]: join(dir(), 'other.yaml') } });
    expect(config.nodeName).toBe('variable');
  });

  const on =
    (...paths: string[]) =>
    (path: string) =>
      paths.includes(path);
  it.each([
    [undefined, undefined, on('/var/lib/rancher/k3s/server'), '/etc/rancher/k3s/config.yaml'],
    [undefined, undefined, on('/var/lib/rancher/rke2/server'), '/etc/rancher/rke2/config.yaml'],
    [undefined, undefined, on('/etc/kubernetes/pki/etcd'), '/etc/etcd-snapshot/config.yaml'],
    [undefined, undefined, on(), '/etc/etcd-snapshot/config.yaml'],
    ['rke2', undefined, on(), '/etc/rancher/rke2/config.yaml'],
    ['custom', undefined, on('/etc/rancher/k3s/config.yaml'), '/etc/etcd-snapshot/config.yaml'],
    [undefined, '/data', on('/data/server'), '/etc/rancher/k3s/config.yaml'],
    // The data folder was moved, and only the file itself says where to.
    [undefined, undefined, on('/etc/rancher/k3s/config.yaml'), '/etc/rancher/k3s/config.yaml'],
    [undefined, undefined, on('/etc/rancher/rke2/config.yaml.d'), '/etc/rancher/rke2/config.yaml'],
  ])('with distribution %s and data in %s', (distribution, dataDir, exists, path) => {
    expect(configPathOf(distribution, dataDir, exists)).toBe(path);
  });

  it('may be missing unless it was named', async () => {
    const around = { env: {}, hostname: 'h', cwd: '/', exists: () => false };
    const none = await readConfigFiles('ls', { distribution: 'custom' }, around);
    expect(none).toMatchObject({ given: {}, problems: [], skipped: undefined });
    expect(await problemOf()).toContain(`--config: there is no file "${main()}"`);
    expect(await problemOf([], { env: { K3S_CONFIG_FILE: '/no/where' } })).toContain(
      'K3S_CONFIG_FILE: there is no file',
    );
  });

  it('is no address, and what is secret in one does not show', async () => {
    for (const address of [
      'https://user:very-secret@h/c.yaml?token=very-secret',
      'HTTP://h/c.yaml',
      's3://b/c',
    ]) {
      const text = await problemOf([], { env: { K3S_CONFIG_FILE: address } });
      expect(text).toMatch(/^usage: K3S_CONFIG_FILE: an address \(of [hb]\) is no file/);
      expect(text).not.toContain('very-secret');
    }
  });

  it('is no folder', async () => {
    expect(await problemOf([`--config=${dir()}`])).toContain(`${dir()} cannot be read: EISDIR`);
  });
});

describe('what is wrong in a file', () => {
  it.each([
    ['etcd-s3-timeout: very', 'etcd-s3-timeout in FILE: "very" is no time span'],
    ['etcd-s3: perhaps', 'etcd-s3 in FILE: "perhaps" is neither true nor false'],
    ['etcd-s3: true\netcd-s3-bucket: a/b', 'etcd-s3-bucket in FILE: "a/b" is no bucket'],
    ['etcd-s3: true\netcd-s3-bucket: b\netcd-s3-proxy: very-secret', 'etcd-s3-proxy in FILE is no proxy'],
    ['etcd-s3-bucket: {a: b}', 'etcd-s3-bucket in FILE is a mapping'],
    ['etcd-s3-bucket: a\ns3-bucket: b', 'etcd-s3-bucket and s3-bucket in FILE are the same setting'],
    ['- a\n- b', 'FILE cannot be read: it is no mapping'],
    ['very-secret', 'FILE cannot be read: it is no mapping'],
    ['a: b\n\tc: very-secret: x', 'FILE cannot be read: line 2 is no YAML'],
    ['a: *very-secret', 'FILE cannot be read: an alias in it cannot be resolved'],
    ['node-name: a/b', 'a/b'],
    [`x: ${'y'.repeat(1024 * 1024)}`, 'FILE cannot be read: it is larger than 1 MiB'],
  ])('%j is named with key and file, and no secret', async (text, expected) => {
    await write({ 'config.yaml': text });
    const problem = await problemOf();
    expect(problem).toMatch(/^usage: /);
    expect(problem).toContain(expected.replace('FILE', main()));
    expect(problem).not.toContain('very-secret');
  });

  it('is told all at once, with what is wrong on the command line', async () => {
    await write({ 'config.yaml': 'etcd-s3-timeout: very', 'config.yaml.d/a.yaml': 'etcd-s3-insecure: x' });
    const problem = await problemOf(['--nmae=x']);
    for (const part of ['3 things', 'etcd-s3-timeout', 'etcd-s3-insecure', '--nmae'])
      expect(problem).toContain(part);
  });

  it('may be a mistyped key of ours, and then there is a warning', async () => {
    await write({ 'config.yaml': 'etcd-s3-buckt: b\nnode-nme: n' });
    const [warning, ...more] = (await resolve()).warnings;
    expect(warning).toMatchObject({
      message: expect.stringContaining('etcd-s3-buckt'),
      hint: 'Did you mean etcd-s3-bucket?',
    });
    expect(more).toEqual([]);
  });

  it.each(['', '# nothing', '---\n', '\n\n'])('%j is nothing', async (text) => {
    await write({ 'config.yaml': text });
    expect(await resolve()).toMatchObject({ skippedKeys: undefined, nodeName: 'node-1' });
  });
});

describe('YAML', () => {
  it.each([
    ['a --- at the end', 'etcd-snapshot-retention: 7\n---\n'],
    ['a --- and a comment at the end', '---\netcd-snapshot-retention: 7\n---\n# that was all\n...\n'],
    ['an anchor', 'kept: &kept 7\netcd-snapshot-retention: *kept\n'],
    ['a merged mapping', 'base: &base\n  etcd-snapshot-retention: 7\n<<: *base\n'],
  ])('is read with %s', async (_what, text) => {
    await write({ 'config.yaml': text });
    expect((await resolve([], { command: 'prune' })).retention).toBe(7);
  });

  it('of two documents is refused, for servers read only the first', async () => {
    await write({ 'config.yaml': 'debug: true\n---\netcd-snapshot-retention: 7\n' });
    expect(await problemOf()).toContain('line 2 begins a second document');
  });

  it('takes a retention below 0 for all, as K3s does', async () => {
    await write({ 'config.yaml': 'etcd-snapshot-retention: -1\netcd-s3-retention: "-1"\n' });
    expect(await resolve([], { command: 'prune' })).toMatchObject({ retention: -1, s3Retention: -1 });
    expect((await resolve(['--snapshot-retention=-2'], { command: 'prune' })).retention).toBe(-2);
  });
});
