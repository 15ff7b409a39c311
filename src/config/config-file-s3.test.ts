import { describe, expect, it } from 'vitest';
import { s3Of, useConfigFolder } from '../../test/support/config-folder.ts';
import type { CommandName } from './option.ts';

const { write, resolve, problemOf } = useConfigFolder();

describe('S3 in a file', () => {
  const keys = 'etcd-s3: true\netcd-s3-bucket: b\netcd-s3-access-key: of-file\netcd-s3-secret-key: of-file\n';
  const ofEnvironment = {
    AWS_ACCESS_KEY_ID: 'of-env',
    AWS_SECRET_ACCESS_KEY: 'of-env',
    AWS_SESSION_TOKEN: 'of-env',
  };

  it('has keys of its own, to which no session token of the environment is added', async () => {
    await write({ 'config.yaml': keys });
    expect(s3Of(await resolve([], { env: ofEnvironment })).keys?.sessionToken).toBeUndefined();
    await write({ 'config.yaml': `${keys}etcd-s3-session-token: of-file\n` });
    expect(s3Of(await resolve([], { env: ofEnvironment })).keys?.sessionToken?.reveal()).toBe('of-file');
    const typed = ['--s3-access-key=typed', '--s3-secret-key=typed'];
    expect(s3Of(await resolve(typed, { env: ofEnvironment })).keys?.sessionToken).toBeUndefined();
    await write({ 'config.yaml': 'etcd-s3: true\netcd-s3-bucket: b\n' });
    expect(s3Of(await resolve([], { env: ofEnvironment })).keys?.sessionToken?.reveal()).toBe('of-env');
  });

  it('that switches it off is told, when the command line says something of S3', async () => {
    await write({ 'config.yaml': 'etcd-s3: false\n' });
    expect(await problemOf(['--s3-bucket=b'])).toMatch(
      /--s3-bucket is given, but S3 is off, by etcd-s3 in .*add --s3/,
    );
    expect((await resolve(['--s3-bucket=b', '--s3'])).s3.kind).toBe('settings');
    expect((await resolve(['--s3-bucket=b', '--s3=false'])).s3.kind).toBe('off');
  });

  it.each(['save', 'ls', 'delete', 'prune', 'operator', 's3', 'verify', 'restore'] as const)(
    'means the same for %s: one setting beside the Secret, and the settings count',
    async (command) => {
      const word = { delete: ['x'], verify: ['x'], restore: ['x', '--data-dir=/d'], s3: ['check'] };
      const words = command in word ? word[command as keyof typeof word] : [];
      const secret = 'etcd-s3: true\netcd-s3-config-secret: s3-config\n';
      await write({ 'config.yaml': secret });
      expect((await resolve(words, { command })).s3.kind).toBe('secret');
      await write({ 'config.yaml': `${secret}etcd-s3-bucket: b\netcd-s3-storage-class: STANDARD_IA\n` });
      expect((await resolve(words, { command })).s3).toMatchObject({
        settings: { bucket: 'b', objects: { storageClass: 'STANDARD_IA' } },
        ignored: { name: 's3-config' },
      });
    },
  );

  it('gives way to a retention that is typed for prune, unless that of S3 is typed too', async () => {
    await write({ 'config.yaml': `${keys}etcd-s3-retention: 3\netcd-snapshot-retention: 4\n` });
    const retention = async (command: CommandName, ...args: string[]) =>
      (await resolve(args, { command })).s3Retention;
    expect(await retention('prune')).toBe(3);
    expect(await retention('prune', '--snapshot-retention=9')).toBe(9);
    expect(await retention('prune', '--snapshot-retention=9', '--s3-retention=2')).toBe(2);
    expect(await retention('operator', '--snapshot-retention=9')).toBe(3);
  });

  it('does not stand in the way of a path, however wrong it is', async () => {
    await write({ 'config.yaml': 'etcd-s3: true\netcd-s3-region: no region\n' });
    expect((await resolve(['/backup/x'], { command: 'verify' })).s3.kind).toBe('off');
    expect(await problemOf(['x'], { command: 'verify' })).toContain('etcd-s3-region in');
  });

  it('is switched on by the URL of an object, whatever it says', async () => {
    await write({ 'config.yaml': 'etcd-s3: false\netcd-s3-endpoint: s3.example.com\n' });
    const config = await resolve(['s3://b/prod/x'], { command: 'verify' });
    expect(s3Of(config)).toMatchObject({ endpoint: 's3.example.com', bucket: 'b' });
  });
});
