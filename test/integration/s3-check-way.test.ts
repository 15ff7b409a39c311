import {
  CreateBucketCommand,
  PutBucketLifecycleConfigurationCommand,
  PutBucketVersioningCommand,
  PutObjectLockConfigurationCommand,
} from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Redacted, type S3Settings } from '../../src/config/types.ts';
import type { AccessPolicy } from '../../src/snapshot/store-check.ts';
import { BUCKET, check, failures, remains, step } from '../support/check-looks.ts';
import { startConnectProxy } from '../support/connect-proxy.ts';
import { startFaultFront } from '../support/fault-front.ts';
import { type S3Server, s3Kinds, startS3 } from '../support/s3-server.ts';
import { temporaryKeys } from '../support/temporary-keys.ts';

describe.each(s3Kinds)('s3 check on the way to %s', (kind) => {
  let s3: S3Server;
  beforeAll(async () => {
    s3 = await startS3({ kind, tls: true });
    await s3.createBucket(BUCKET);
  });
  afterAll(() => s3?.[Symbol.asyncDispose]());

  it('shows the chain of a certificate, and one that no known CA has signed', async () => {
    const good = await check(s3.settings(BUCKET));
    expect(failures(good)).toEqual([]);
    const chain = [expect.objectContaining({ subject: `CN=${kind}`, issuer: 'CN=s3 CA' })];
    expect(step(good, 'tls')).toMatchObject({ outcome: 'pass', chain: expect.arrayContaining(chain) });
    const unknown = await check({ ...s3.settings(BUCKET), endpointCA: '' });
    expect(failures(unknown)).toEqual(['tls']);
    expect(step(unknown, 'tls')).toMatchObject({
      cause: 'tls',
      says: expect.stringContaining(`it is CN=${kind}, issued by CN=s3 CA`),
      cure: expect.stringContaining('--s3-endpoint-ca'),
      chain,
    });
    expect(step(unknown, 'keys')?.outcome).toBe('skip');
    const skipping = await check({ ...s3.settings(BUCKET), endpointCA: '/no/such/ca', skipSSLVerify: true });
    expect(failures(skipping)).toEqual([]);
    expect(step(skipping, 'tls')).toMatchObject({ outcome: 'warn', chain });
  });

  const day = 86_400_000;
  it.each([
    [
      'expired',
      { notBefore: new Date(Date.now() - 9 * day), notAfter: new Date(Date.now() - day) },
      'fail',
      /has expired; it is CN=/,
    ],
    [
      'for another host',
      { hosts: ['other.test'] },
      'fail',
      /another host name; it is .* for DNS:other\.test/,
    ],
    ['soon to expire', { notAfter: new Date(Date.now() + 5.5 * day) }, 'warn', /good for 5 more days/],
  ])('tells of a certificate that is %s', async (_what, certificate, outcome, says) => {
    await using other = await startS3({ kind, tls: true, certificate });
    await other.createBucket(BUCKET);
    const found = await check(other.settings(BUCKET));
    expect(step(found, 'tls')).toMatchObject({ outcome, cause: 'tls', says: expect.stringMatching(says) });
  });

  it('tells plain http from TLS', async () => {
    const plain = await check({ ...s3.settings(BUCKET), insecure: true });
    expect(failures(plain)).toHaveLength(1);
    expect(JSON.stringify(plain.steps)).toContain('--s3-insecure');
    await using front = await startFaultFront(s3.url);
    const secure = await check({ ...s3.settings(BUCKET), endpoint: front.endpoint });
    expect(failures(secure)).toEqual(['tls']);
    expect(step(secure, 'tls')).toMatchObject({ cure: expect.stringContaining('--s3-insecure') });
  });

  it('tells what the proxy does, and never its password', async () => {
    await using proxy = await startConnectProxy({ credentials: 'user:right', hosts: { '*': s3.endpoint } });
    const url = (password: string) => new Redacted(proxy.url.replace('//', `//user:${password}@`));
    const good = await check({ ...s3.settings(BUCKET), proxy: url('right') });
    expect(failures(good)).toEqual([]);
    expect(step(good, 'proxy')).toMatchObject({
      outcome: 'pass',
      says: expect.stringContaining(s3.endpoint),
    });
    const wrong = await check({ ...s3.settings(BUCKET), proxy: url('very-wrong') });
    expect(failures(wrong)).toEqual(['proxy']);
    expect(step(wrong, 'proxy')).toMatchObject({ cause: 'proxy', code: 'unauthenticated' });
    expect(JSON.stringify(wrong)).not.toContain('very-wrong');
    proxy.refuse(403);
    expect(step(await check({ ...s3.settings(BUCKET), proxy: url('right') }), 'proxy')).toMatchObject({
      code: 'forbidden',
    });
    const away = await check({ ...s3.settings(BUCKET), proxy: new Redacted('http://127.0.0.1:1') });
    expect(failures(away)).toEqual(['tcp']);
    expect(step(away, 'tcp')?.says).toContain('proxy 127.0.0.1:1');
  });
});

describe('s3 check with the rights of a policy (MinIO)', () => {
  let s3: S3Server;
  beforeAll(async () => {
    s3 = await startS3({ kind: 'minio' });
    await s3.createBucket(BUCKET);
    await s3.createBucket('versioned');
    await s3.client().send(
      new PutBucketVersioningCommand({
        Bucket: 'versioned',
        VersioningConfiguration: { Status: 'Enabled' },
      }),
    );
  });
  afterAll(() => s3?.[Symbol.asyncDispose]());

  const withPolicy = async (bucket: string, policy: object): Promise<S3Settings> => {
    const { accessKeyId, secretAccessKey, sessionToken } = await temporaryKeys(s3, policy);
    return {
      ...s3.settings(bucket, 'prod'),
      keys: {
        accessKey: new Redacted(accessKeyId),
        secretKey: new Redacted(secretAccessKey),
        sessionToken: new Redacted(sessionToken),
      },
    };
  };
  const without = (policy: AccessPolicy, right: string): AccessPolicy => ({
    ...policy,
    Statement: policy.Statement.map((one) => ({
      ...one,
      Action: one.Action.filter((action) => action !== right),
    })).filter(({ Action }) => Action.length > 0),
  });

  it('is content with the policy that it prints, and not with one right less', async () => {
    const { policy } = await check(s3.settings(BUCKET, 'prod'));
    const exact = await check(await withPolicy(BUCKET, policy));
    expect(exact.steps.filter(({ outcome }) => outcome !== 'pass')).toEqual([]);
    for (const right of policy.Statement.flatMap(({ Sid, Action }) =>
      Sid.startsWith('OnlyFor') ? [] : Action,
    )) {
      const found = await check(await withPolicy(BUCKET, without(policy, right)));
      expect(failures(found), right).not.toEqual([]);
      expect(JSON.stringify(found.steps), right).toContain(`(${right} in a policy)`);
      expect(found.left, right).toEqual([]);
      expect(await remains(s3), right).toEqual([]);
    }
  });

  it('leaves no version behind, and makes nothing where it may not remove versions', async () => {
    const { policy, steps } = await check(s3.settings('versioned', 'prod'));
    expect(steps.every(({ outcome }) => outcome === 'pass')).toBe(true);
    expect(await remains(s3, 'versioned')).toEqual([]);
    expect(JSON.stringify(policy)).toContain('s3:DeleteObjectVersion');
    const settings = await withPolicy('versioned', without(policy, 's3:DeleteObjectVersion'));
    const found = await check(settings);
    expect(failures(found)).toEqual([]);
    expect(step(found, 'put')?.outcome).toBe('skip');
    expect(step(found, 'multipart')?.outcome).toBe('pass');
    expect(step(found, 'delete')).toMatchObject({
      outcome: 'warn',
      cure: expect.stringContaining('s3:DeleteObjectVersion'),
    });
    expect(found.left).toEqual([]);
    expect(await remains(s3, 'versioned')).toEqual([]);
  });

  it('puts nothing where it would stay locked', async () => {
    const client = s3.client();
    const Bucket = 'locked';
    await client.send(new CreateBucketCommand({ Bucket, ObjectLockEnabledForBucket: true }));
    const Rule = { DefaultRetention: { Mode: 'GOVERNANCE' as const, Days: 1 } };
    await client.send(
      new PutObjectLockConfigurationCommand({
        Bucket,
        ObjectLockConfiguration: { ObjectLockEnabled: 'Enabled', Rule },
      }),
    );
    const { policy } = await check(s3.settings(Bucket, 'prod'));
    const found = await check(await withPolicy(Bucket, without(policy, 's3:PutObjectRetention')));
    expect(failures(found)).toEqual(['put']);
    expect(step(found, 'put')).toMatchObject({
      cause: 'object-lock',
      cure: expect.stringContaining('s3:PutObjectRetention'),
    });
    expect(await remains(s3, Bucket)).toEqual([]);
  });

  it('warns of lifecycle rules that clash with retention', async () => {
    const rule = (ID: string, Prefix: string, more: object) => ({
      ID,
      Status: 'Enabled' as const,
      Filter: { Prefix },
      ...more,
    });
    await s3.createBucket('expiring');
    await s3.client().send(
      new PutBucketLifecycleConfigurationCommand({
        Bucket: 'expiring',
        LifecycleConfiguration: {
          Rules: [
            rule('week', 'prod/', { Expiration: { Days: 7 } }),
            rule('beside', 'staging/', { Expiration: { Days: 1 } }),
          ],
        },
      }),
    );
    const found = await check(s3.settings('expiring', 'prod'));
    expect(failures(found)).toEqual([]);
    expect(step(found, 'lifecycle')).toMatchObject({
      outcome: 'warn',
      cause: 'lifecycle',
      says: 'rule "week" deletes snapshots after 7 days, whatever retention keeps',
    });
  });
});
