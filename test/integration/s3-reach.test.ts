import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Redacted, type S3Settings } from '../../src/config/types.ts';
import { createS3Store } from '../../src/stores/s3-store.ts';
import { startConnectProxy } from '../support/connect-proxy.ts';
import { startFaultFront } from '../support/fault-front.ts';
import { GrowingBytes, MIB, sha256, someBytes } from '../support/growing-bytes.ts';
import { type S3Server, s3Kinds, s3Servers, startS3 } from '../support/s3-server.ts';
import { collect, uploadOf } from '../support/store-contract.ts';

const BUCKET = 'snapshots';
const NAME = 'on-demand-node-1-1730308816';
const DOMAIN = 's3.test';
const never = new AbortController().signal;
const quick = { program: 'k3s', nodeName: 'node-1', partSize: 5 * MIB, firstRetryMs: 1 } as const;

async function refusal(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe.each(s3Servers)('reaching $kind, tls $tls,', ({ kind, tls }) => {
  let s3: S3Server;
  beforeAll(async () => {
    s3 = await startS3({ kind, tls, domain: DOMAIN });
    await s3.createBucket(BUCKET);
  });
  afterAll(() => s3?.[Symbol.asyncDispose]());

  /** What no DNS knows: only the proxy finds it. */
  const named = (folder: string, more: Partial<S3Settings> = {}): S3Settings => ({
    ...s3.settings(BUCKET, folder),
    endpoint: DOMAIN,
    ...more,
  });
  const port = tls ? 443 : 80;
  const scheme = tls ? 'HTTPS_PROXY' : 'HTTP_PROXY';
  const proxyTo = (credentials?: string) =>
    startConnectProxy({ hosts: { '*': s3.endpoint }, ...(credentials === undefined ? {} : { credentials }) });

  it('goes through the proxy of the setting, whatever the environment says, and with its credentials', async () => {
    await using proxy = await proxyTo('user:p@ss word');
    const url = proxy.url.replace('//', '//user:p%40ss%20word@');
    const env = { [scheme]: 'http://127.0.0.1:1', NO_PROXY: '*' };
    const store = createS3Store(named('flag', { proxy: new Redacted(url) }), { ...quick, env });
    const content = someBytes(11 * MIB);
    await store.put(uploadOf(NAME, GrowingBytes.whole(content)), never);
    expect(sha256(await collect(await store.open(NAME, never)))).toBe(sha256(content));
    expect(new Set(proxy.targets)).toEqual(new Set([`${DOMAIN}:${port}`]));
  });

  it('goes through the proxy of the environment, but not for NO_PROXY, nor when told none', async () => {
    await using proxy = await proxyTo();
    const env = { [scheme]: proxy.url };
    await createS3Store(named('env'), { ...quick, env }).list(never);
    expect(proxy.targets.length).toBeGreaterThan(0);
    proxy.refuse(500);
    const once = { ...quick, maxAttempts: 1 };
    const straight: Awaited<ReturnType<typeof refusal>>[] = [
      await refusal(createS3Store(named('none', { proxy: 'none' }), { ...once, env }).list(never)),
      await refusal(createS3Store(named('no'), { ...once, env: { ...env, NO_PROXY: '.test' } }).list(never)),
    ];
    for (const error of straight) {
      expect(error).toMatchObject({ why: expect.stringMatching(/the name s3\.test cannot be resolved/) });
    }
    expect(await createS3Store(s3.settings(BUCKET, 'here'), { ...once, env }).list(never)).toEqual([]);
  });

  it('says what the proxy said, and never its password', async () => {
    await using proxy = await proxyTo('user:right');
    const url = proxy.url.replace('//', '//user:very-wrong@');
    const list = (more: Partial<S3Settings>) =>
      refusal(createS3Store(named('no', more), { ...quick, maxAttempts: 1 }).list(never));
    const wrong = await list({ proxy: new Redacted(url) });
    expect(wrong).toMatchObject({ code: 'unauthenticated', hint: expect.stringContaining('user:password') });
    expect(JSON.stringify(wrong)).not.toContain('very-wrong');
    const away = await list({ proxy: new Redacted('http://127.0.0.1:1') });
    expect(away).toMatchObject({ code: 'unavailable', why: expect.stringContaining('proxy 127.0.0.1:1') });
    proxy.refuse(tls ? 403 : 407);
    expect(await list({ proxy: new Redacted(url) })).toMatchObject({
      code: tls ? 'forbidden' : 'unauthenticated',
      why: expect.stringContaining(`proxy ${new URL(proxy.url).host}`),
    });
    proxy.refuse(503);
    expect(await list({ proxy: new Redacted(url) })).toMatchObject({ code: 'unavailable', retryable: true });
  });

  it('a proxy that never answers is a timeout', async () => {
    await using proxy = await proxyTo();
    proxy.refuse(0);
    const store = createS3Store(named('hang', { proxy: new Redacted(proxy.url) }), {
      ...quick,
      maxAttempts: 1,
      stallMs: 300,
    });
    await expect(store.list(never)).rejects.toMatchObject({ code: 'timeout' });
  });

  it.each([
    ['dns', `${BUCKET}.${DOMAIN}`],
    ['path', DOMAIN],
  ] as const)('addresses the bucket as %s', async (lookup, host) => {
    await using proxy = await proxyTo();
    const settings = named(`lookup-${lookup}`, { lookup, proxy: new Redacted(proxy.url) });
    const store = createS3Store(settings, quick);
    await store.put(uploadOf(NAME, GrowingBytes.whole(someBytes(544))), never);
    expect(await store.list(never)).toHaveLength(1);
    expect(new Set(proxy.targets)).toEqual(new Set([`${host}:${port}`]));
  });
});

describe.each(s3Kinds)('a certificate of %s', (kind) => {
  const day = 86_400_000;
  const past = { notBefore: new Date(Date.now() - 9 * day), notAfter: new Date(Date.now() - day) };
  const future = { notBefore: new Date(Date.now() + day), notAfter: new Date(Date.now() + 9 * day) };
  it.each([
    ['that has expired', past, /has expired/, /Renew it/],
    ['that is not valid yet', future, /not valid yet/, /clock/],
    ['for another host', { hosts: ['other.test'] }, /another host/, /--s3-endpoint/],
    [
      'that is signed by itself',
      { selfSigned: true },
      /not signed by a CA that is trusted here/,
      /--s3-endpoint-ca/,
    ],
    ['without names', { hosts: [] }, /another host/, /--s3-endpoint/],
  ])(
    '%s is refused, with the reason; --s3-skip-ssl-verify takes it',
    async (_what, certificate, why, hint) => {
      await using s3 = await startS3({ kind, tls: true, certificate });
      await s3.createBucket(BUCKET);
      const settings = s3.settings(BUCKET);
      const once = { ...quick, maxAttempts: 1 };
      await expect(createS3Store(settings, once).list(never)).rejects.toMatchObject({
        code: 'tls',
        why: expect.stringMatching(why),
        hint: expect.stringMatching(hint),
      });
      // It wins over a CA, even one that cannot be read.
      const skipping = { ...settings, skipSSLVerify: true, endpointCA: '/no/such/file' };
      expect(await createS3Store(skipping, once).list(never)).toEqual([]);
    },
  );
});

describe.each(s3Kinds)('the region of %s', (kind) => {
  let s3: S3Server;
  beforeAll(async () => {
    s3 = await startS3({ kind, region: 'eu-central-1' });
    await s3.createBucket(BUCKET);
  });
  afterAll(() => s3?.[Symbol.asyncDispose]());

  it('is followed when it turns out to be another one, once and for all calls', async () => {
    await using front = await startFaultFront(s3.url);
    const settings = { ...s3.settings(BUCKET, 'region'), endpoint: front.endpoint };
    const store = createS3Store(settings, { ...quick, maxAttempts: 1 });
    const content = someBytes(11 * MIB);
    await store.put(uploadOf(NAME, GrowingBytes.whole(content)), never);
    expect(sha256(await collect(await store.open(NAME, never)))).toBe(sha256(content));
    const wrong = front.requests.filter(({ headers }) => headers.authorization?.includes('/us-east-1/s3'));
    expect(wrong.length).toBeLessThanOrEqual(2);
  });

  it('is not followed in circles', async () => {
    await using front = await startFaultFront(s3.url);
    front.setRule(({ count }) => ({
      status: 301,
      headers: { 'x-amz-bucket-region': count % 2 === 0 ? 'eu-west-1' : 'eu-west-2' },
    }));
    const settings = { ...s3.settings(BUCKET, 'circle'), endpoint: front.endpoint };
    await expect(createS3Store(settings, quick).list(never)).rejects.toMatchObject({
      code: 'usage',
      hint: expect.stringContaining('--s3-region'),
    });
    expect(front.requests.length).toBeLessThan(10);
  });
});

describe.each(s3Kinds)('checksums on %s', (kind) => {
  let s3: S3Server;
  beforeAll(async () => {
    s3 = await startS3({ kind });
    await s3.createBucket(BUCKET);
  });
  afterAll(() => s3?.[Symbol.asyncDispose]());

  it.each([
    ['when-required', false],
    ['when-supported', true],
  ] as const)('are sent %s: small and large snapshots arrive, and no trailers', async (checksums, sent) => {
    await using front = await startFaultFront(s3.url);
    const settings = { ...s3.settings(BUCKET, checksums), endpoint: front.endpoint, checksums };
    const store = createS3Store(settings, quick);
    for (const [name, size] of [
      [NAME, 544],
      ['on-demand-node-1-1730308817', 11 * MIB],
    ] as const) {
      const content = someBytes(size);
      await store.put(uploadOf(name, GrowingBytes.whole(content)), never);
      expect(sha256(await collect(await store.open(name, never)))).toBe(sha256(content));
    }
    const puts = front.requests.filter(({ method }) => method === 'PUT');
    for (const { headers } of puts) {
      expect(Object.keys(headers).some((name) => name.startsWith('x-amz-checksum-'))).toBe(sent);
      expect(headers).not.toHaveProperty('x-amz-trailer');
      expect(headers['content-encoding']).toBeUndefined();
      expect(headers.expect).toBeUndefined();
    }
  });
});
