import { chmod, chown, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type EtcdCluster, startEtcd } from '../support/etcd-server.ts';
import { hashOf, k3sBootstrap } from '../support/k3s-bootstrap.ts';
import { rancherServer } from '../support/rancher-server.ts';
import { type ScratchDir, scratchDir } from '../support/scratch.ts';
import { snapshotOf } from '../support/snapshot-of.ts';
import { treeOf } from '../support/tree.ts';

const PASSWORD = 'the-password-of-the-servers';
const CA = '-----BEGIN CERTIFICATE-----\nof the time of the snapshot\n-----END CERTIFICATE-----\n';
const base64 = (text: string) => Buffer.from(text).toString('base64');
const document = {
  ServerCA: { Timestamp: '2024-10-30T17:20:16.5Z', Content: base64(CA) },
  ServerCAKey: { Timestamp: '2024-10-30T17:20:16.5Z', Content: base64('key of the CA\n') },
  ETCDPeerCA: { Timestamp: '2024-10-30T17:20:16.5Z', Content: base64('peer CA\n') },
  PasswdFile: { Timestamp: '2024-10-30T17:20:16.5Z', Content: base64('passwd\n') },
};

let etcd: EtcdCluster;
let saved: ScratchDir;
let snapshot: string;

beforeAll(async () => {
  [etcd, saved] = await Promise.all([startEtcd(), scratchDir('saved-')]);
  await etcd.put([k3sBootstrap(document, PASSWORD), ['early', 'here']]);
  snapshot = await snapshotOf(etcd, saved.path, 'good');
});
afterAll(async () => {
  for (const part of [etcd, saved]) await part?.[Symbol.asyncDispose]();
});

const server = (distribution?: string) => rancherServer(PASSWORD, distribution);

describe('etcd-snapshot restore of K3s', () => {
  it.each([['k3s'], ['rke2']])(
    'of %s writes the certificates of the snapshot, and keeps those of today',
    async (what) => {
      await using s = await server(what);
      const result = await s.run(['--yes', snapshot]);
      expect(result, result.stderr).toMatchObject({ code: 0 });
      expect(result.stdout).toContain('write 4 certificates and secrets');
      expect(result.stdout).toContain(
        'Managed etcd cluster membership has been reset, restart without --cluster-reset flag now.',
      );
      expect(result.stdout).toContain(`systemctl start ${what === 'rke2' ? 'rke2-server' : 'k3s'}`);
      expect(result.stdout + result.stderr).not.toContain(PASSWORD);
      expect(await s.read('tls/server-ca.crt')).toBe(CA);
      expect(await s.read('tls/server-ca.key')).toBe('key of the CA\n');
      expect(await s.read('tls/etcd/peer-ca.crt')).toBe('peer CA\n');
      expect(await s.read('cred/passwd')).toBe('passwd\n');
      const file = await stat(join(s.root, 'tls/server-ca.key'));
      expect(file.mode & 0o777).toBe(0o600);
      expect(file.mtime).toEqual(new Date('2024-10-30T17:20:16.5Z'));
      const copies = (await readdir(s.root)).filter((name) => /^(?:tls|cred)-\d{10}$/.test(name)).sort();
      expect(copies).toHaveLength(2);
      expect(await s.read(`${copies[0]}/passwd`)).toBe('of today');
      expect(await s.read(`${copies[1]}/server-ca.crt`)).toBe('of today');
      expect(await s.read('db/reset-flag')).toBe('');
      expect(await s.read('db/etcd/name')).toMatch(/^server-1-[0-9a-f]{8}$/);
      const old = (await readdir(join(s.root, 'db'))).find((name) => name.startsWith('etcd-old-'));
      expect(await s.read(`db/${old}/name`)).toBe('server-1-00000000');

      const back = await s.run(['--yes', '--rollback']);
      expect(back, back.stderr).toMatchObject({ code: 0 });
      expect(await s.read('tls/server-ca.crt')).toBe('of today');
      expect(await s.read('cred/passwd')).toBe('of today');
      expect(await s.read('db/etcd/name')).toBe('server-1-00000000');
      expect(await readdir(join(s.root, 'db'))).not.toContain('reset-flag');
    },
  );

  it('takes the token from a flag in its long form, and tells when it names another CA', async () => {
    await using s = await server();
    await rm(join(s.root, 'token'));
    const other = 'ab'.repeat(32);
    const result = await s.run(['--dry-run', snapshot, `--token=K10${other}::server:${PASSWORD}`]);
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(result.stdout).toMatch(
      /note: the token names another CA \(abababababab…\) than the snapshot holds/,
    );
    expect(result.stdout).not.toContain(PASSWORD);
  });

  it.each([
    [
      'that is wrong',
      'of-another-cluster-entirely',
      new RegExp(
        `its hash is ${hashOf('of-another-cluster-entirely')}, and the snapshot is encrypted with ${hashOf(PASSWORD)}`,
      ),
    ],
    ['that is malformed', 'K10abc::server:x', /The server token cannot be read/],
    ['of an agent', `K10${'ab'.repeat(32)}::abcdef.0123456789abcdef`, /The server token cannot be read/],
  ])('refuses a token %s before anything is moved', async (_what, token, message) => {
    await using s = await server();
    const result = await s.run(['--yes', snapshot, `--token=${token}`]);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(message);
    expect(result.stderr).not.toContain(token.slice(-16));
    expect(await readdir(join(s.root, 'db'))).toEqual(['etcd', 'snapshots']);
  });

  it('makes server/db anew where it was removed, as the page of K3s advises for the other servers', async () => {
    await using s = await server();
    await rm(join(s.root, 'db'), { recursive: true });
    const result = await s.run(['--yes', snapshot]);
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(await s.read('db/etcd/name')).toMatch(/^server-1-/);
    const wrong = await s.run(['--yes', snapshot, '--data-dir=/nonexistent']);
    expect(wrong.stderr).toMatch(/\/nonexistent\/server\/db does not exist/);
  });

  it('refuses to begin without a token', async () => {
    await using s = await server();
    await rm(join(s.root, 'token'));
    const result = await s.run(['--yes', snapshot]);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/server\/token does not exist, and no token is given/);
  });

  it.each([
    ['missing', [], /there are no bootstrap data/],
    ['locked', [[`/bootstrap/${hashOf(PASSWORD)}`, '']], /still being set up/],
    ['damaged', [[`/bootstrap/${hashOf(PASSWORD)}`, '0011223344556677:AAAA']], /cannot be decrypted/],
    ["another token's", [k3sBootstrap(document, 'older')], new RegExp(`encrypted with ${hashOf('older')}`)],
  ] as const)('refuses a snapshot whose bootstrap data are %s', async (_what, entries, message) => {
    await using s = await server();
    await using odd = await startEtcd();
    await odd.put([...entries.map(([key, value]) => [key, value] as const), ['some', 'key']]);
    const path = await snapshotOf(odd, s.root, 'odd');
    const result = await s.run(['--yes', path]);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(message);
  });

  it('takes bootstrap data of the legacy form, under the empty password', async () => {
    await using s = await server();
    await using old = await startEtcd();
    await old.put([k3sBootstrap({ ServerCA: base64(CA) }, '')]);
    const result = await s.run(['--yes', await snapshotOf(old, s.root, 'legacy')]);
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(await s.read('tls/server-ca.crt')).toBe(CA);
  });

  it('keeps what was there before each restore byte by byte, with modes, owners and links', async () => {
    await using s = await server();
    const own = join(s.root, 'tls/etcd/own.key');
    await writeFile(own, 'a key of this node', { mode: 0o640 });
    await chown(own, 65_534, 65_534);
    await chmod(join(s.root, 'tls/etcd'), 0o2750);
    await symlink('etcd/own.key', join(s.root, 'tls/link.key'));
    const names = ['tls', 'cred'];
    const look = () => Promise.all(names.map((name) => treeOf(join(s.root, name))));
    /** Those that end in the time of the n-th restore. */
    const copies = async (nth: number) => {
      const times = (await readdir(s.root)).flatMap((name) => /^tls-(\d{10})$/.exec(name)?.[1] ?? []).sort();
      return Promise.all(names.map((name) => treeOf(join(s.root, `${name}-${times[nth]}`))));
    };
    const today = await look();
    expect(await s.run(['--yes', snapshot])).toMatchObject({ code: 0 });
    const restored = await look();
    expect(await copies(0)).toEqual(today);
    expect(restored).not.toEqual(today);
    expect(restored[0]?.filter((line) => /own\.key|link\.key/.test(line))).toHaveLength(2);
    expect(await s.run(['--yes', snapshot])).toMatchObject({ code: 0 });
    expect(await copies(0)).toEqual(today);
    expect(await copies(1)).toEqual(restored);
    expect(await look()).toEqual(restored);
    expect(await s.run(['--yes', '--rollback'])).toMatchObject({ code: 0 });
    expect(await look()).toEqual(restored);
  });

  it('a rejoin leaves token, certificates and passwords as they are, which K3s joins with', async () => {
    await using s = await server();
    const joins = '--server=https://10.0.0.1:6443';
    const result = await s.run(['--yes', '--rejoin', joins]);
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect((await readdir(join(s.root, 'db'))).sort()).toEqual([
      '.etcd-restore.json',
      expect.stringMatching(/^etcd-old-\d{10}$/),
      'snapshots',
    ]);
    expect(await s.read('token')).toBe(`${PASSWORD}\n`);
    expect(await s.read('tls/server-ca.crt')).toBe('of today');
    expect(await s.read('cred/passwd')).toBe('of today');
    expect((await s.run(['--yes', '--rollback'])).code).toBe(0);
    expect(await s.read('db/etcd/name')).toBe('server-1-00000000');
  });
});
