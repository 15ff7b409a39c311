import { CreateBucketCommand, PutObjectCommand, PutObjectLockConfigurationCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Redacted, type S3Keys, type S3Settings } from '../../src/config/types.ts';
import type { CheckedStep } from '../../src/snapshot/store-check.ts';
import { BUCKET, check, failures, openUploads, remains, step } from '../support/check-looks.ts';
import { runCommand, s3Env, s3Flags, startCommand } from '../support/command.ts';
import { startConnectProxy } from '../support/connect-proxy.ts';
import { type Fault, type FaultFront, type SeenRequest, startFaultFront } from '../support/fault-front.ts';
import { freePorts } from '../support/processes.ts';
import { type S3Server, s3Kinds, startS3 } from '../support/s3-server.ts';

const denied = { status: 403, body: '<Error><Code>AccessDenied</Code><Message>no</Message></Error>' };

describe.each(s3Kinds)('s3 check on %s', (kind) => {
  let s3: S3Server;
  beforeAll(async () => {
    s3 = await startS3({ kind });
    await s3.createBucket(BUCKET);
  });
  afterAll(() => s3?.[Symbol.asyncDispose]());

  const through = (front: FaultFront, more: Partial<S3Settings> = {}): S3Settings => ({
    ...s3.settings(BUCKET, 'prod'),
    endpoint: front.endpoint,
    ...more,
  });

  it('passes every step of a good store, ends with 0 and leaves nothing behind', async () => {
    await s3.client().send(new PutObjectCommand({ Bucket: BUCKET, Key: 'prod/others', Body: 'x' }));
    const settings = s3.settings(BUCKET, 'prod');
    const { code, stdout, stderr } = await runCommand(
      ['s3', 'check', '-o', 'json', ...s3Flags(settings)],
      s3Env(settings),
    );
    expect(code, stdout + stderr).toBe(0);
    const found = JSON.parse(stdout);
    expect(found).toMatchObject({
      ok: true,
      endpoint: s3.url,
      bucket: BUCKET,
      folder: 'prod',
      region: 'us-east-1',
      addressing: 'path',
      proxy: null,
      left: [],
      policy: { Version: '2012-10-17' },
    });
    expect(found.steps.map((one: CheckedStep) => `${one.outcome} ${one.step}`)).toEqual([
      'pass dns',
      'pass tcp',
      'pass clock',
      'pass keys',
      'pass bucket',
      'pass object lock',
      'pass lifecycle',
      'pass unfinished uploads',
      'pass put',
      'pass multipart',
      'pass list',
      'pass head',
      'pass ranged get',
      'pass delete',
    ]);
    expect(await remains(s3)).toEqual(['prod/others']);
    expect(stdout + stderr).not.toContain(s3.secretKey);
  });

  const isPut = ({ method, path }: SeenRequest) => method === 'PUT' && !path.includes('uploadId');
  const isBegin = ({ method, path }: SeenRequest) => method === 'POST' && /[?&]uploads\b/.test(path);
  const isPart = ({ path }: SeenRequest) => path.includes('partNumber=');
  /** Not the single byte by which the server is asked whether it checks sums. */
  const isCanaryPart = (request: SeenRequest) =>
    isPart(request) && Number(request.headers['content-length']) > 1;
  const isComplete = ({ method, path }: SeenRequest) => method === 'POST' && path.includes('uploadId=');
  const isAbort = ({ method, path }: SeenRequest) => method === 'DELETE' && path.includes('uploadId=');
  const isList = ({ path }: SeenRequest) => path.includes('list-type');
  const isListUploads = ({ method, path }: SeenRequest) => method === 'GET' && /[?&]uploads\b/.test(path);
  const isHead = ({ method, headers }: SeenRequest) =>
    method === 'HEAD' && headers.authorization !== undefined;
  const isGet = ({ method, path }: SeenRequest) =>
    method === 'GET' && path.includes('.s3-check-') && !path.includes('prefix');
  const isDelete = ({ method, path }: SeenRequest) => method === 'DELETE' && !path.includes('uploadId=');

  it.each([
    ['PutObject', isPut, ['put'], 's3:PutObject'],
    ['CreateMultipartUpload', isBegin, ['multipart'], 's3:PutObject'],
    ['UploadPart', isPart, ['multipart'], 's3:PutObject'],
    ['CompleteMultipartUpload', isComplete, ['multipart'], 's3:PutObject'],
    ['AbortMultipartUpload', isAbort, ['unfinished uploads'], 's3:AbortMultipartUpload'],
    ['ListMultipartUploads', isListUploads, ['unfinished uploads'], 's3:ListBucketMultipartUploads'],
    ['ListObjectsV2', isList, ['list'], 's3:ListBucket'],
    ['GetObject', isGet, ['ranged get'], 's3:GetObject'],
    ['DeleteObject', isDelete, ['delete'], 's3:DeleteObject'],
  ] as const)(
    'names the right when %s alone is denied, and leaves nothing',
    async (operation, matches, steps, right) => {
      const before = await remains(s3);
      await using front = await startFaultFront(s3.url);
      front.setRule((request) => (matches(request) ? denied : undefined));
      const found = await check(through(front));
      expect(failures(found)).toEqual(steps);
      const [name] = steps;
      expect(step(found, name)).toMatchObject({
        cause: 'missing-right',
        code: 'forbidden',
        cure: expect.stringMatching(new RegExp(`Allow ${operation} .*\\(${right} in a policy\\)`)),
      });
      expect(await remains(s3)).toEqual(before);
      expect(await openUploads(s3, front)).toEqual([]);
    },
  );

  it('names the right when HeadObject is denied: then nothing can be read either', async () => {
    const before = await remains(s3);
    await using front = await startFaultFront(s3.url);
    front.setRule((request) => (isHead(request) ? { status: 403 } : undefined));
    const found = await check(through(front));
    expect(failures(found)).toEqual(['head', 'ranged get']);
    expect(step(found, 'head')).toMatchObject({ cure: expect.stringContaining('s3:GetObject') });
    expect(await remains(s3)).toEqual(before);
  });

  const cut: readonly (readonly [string, (request: SeenRequest) => boolean, Fault])[] = [
    ['the answer to put', isPut, 'mute'],
    ['a part', isCanaryPart, { cutAfterRequestBytes: 100_000 }],
    ['the answer to complete', isComplete, { cutAfterResponseBytes: 1 }],
    ['a deletion', isDelete, { status: 500 }],
  ];
  it.each(cut)('leaves nothing behind when %s fails again and again', async (_what, matches, fault) => {
    const before = await remains(s3);
    await using front = await startFaultFront(s3.url);
    // The first deletion is the one of nothing, which shows that deleting is allowed.
    let seen = 0;
    front.setRule((request) => {
      if (!matches(request)) return undefined;
      seen += 1;
      return (matches === isDelete && seen === 1) || seen > 4 ? undefined : fault;
    });
    const found = await check(through(front), { stallMs: 2000 });
    // MinIO answers the second end with a status alone, which cannot be cut: there is the object, and it is found to be ours.
    const isFound = matches === isComplete && kind === 'minio';
    expect(failures(found)).toHaveLength(isFound ? 0 : 1);
    expect(found.left).toEqual([]);
    expect(await remains(s3)).toEqual(before);
    expect(await openUploads(s3, front)).toEqual([]);
  });

  const during: readonly (readonly [string, (request: SeenRequest) => boolean, Fault])[] = [
    ['put', isPut, 'mute'],
    ['a part', isPart, 'hang'],
    ['complete', isComplete, 'mute'],
    ['the ranged get', isGet, 'hang'],
  ];
  it.each(during)('leaves nothing behind after Ctrl-C in %s', async (_what, matches, fault) => {
    const before = await remains(s3);
    await using front = await startFaultFront(s3.url);
    const reached = Promise.withResolvers<void>();
    front.setRule((request) => {
      if (!matches(request)) return undefined;
      reached.resolve();
      return fault;
    });
    const settings = through(front);
    const command = startCommand(['s3', 'check', ...s3Flags(settings)], s3Env(settings));
    await reached.promise;
    command.child.kill('SIGINT');
    const { code, stderr } = await command.done;
    expect(code, stderr).toBe(130);
    expect(stderr).toContain('SIGINT');
    expect(await remains(s3)).toEqual(before);
    expect(await openUploads(s3, front)).toEqual([]);
  });

  it('says so when something is left behind, and what', async () => {
    await using front = await startFaultFront(s3.url);
    let deletions = 0;
    front.setRule((request) => {
      if (!isDelete(request)) return undefined;
      deletions += 1;
      return deletions === 1 ? undefined : denied;
    });
    const settings = through(front, { folder: 'left' });
    const { code, stdout } = await runCommand(['s3', 'check', ...s3Flags(settings)], s3Env(settings));
    expect(code).toBe(1);
    expect(stdout).toMatch(/^left behind: left\/\.s3-check-.*-small: .*DeleteObject/m);
    expect(stdout).toMatch(/^left behind: left\/\.s3-check-.*-parts: .*DeleteObject/m);
  });

  it('removes what a check that was killed has left, and no canary of another one that runs', async () => {
    const long = Math.floor(Date.now() / 1000) - 7200;
    const now = Math.floor(Date.now() / 1000);
    for (const seconds of [long, now]) {
      const Key = `killed/.s3-check-${seconds}-0123abcd-small`;
      await s3.client().send(new PutObjectCommand({ Bucket: BUCKET, Key, Body: 'x' }));
    }
    const found = await check(s3.settings(BUCKET, 'killed'));
    expect(failures(found)).toEqual([]);
    expect(step(found, 'list')?.says).toContain('1 of checks that were killed removed');
    const rest = (await remains(s3)).filter((key) => key.startsWith('killed/'));
    expect(rest).toEqual([`killed/.s3-check-${now}-0123abcd-small`]);
  });

  const withKeys = (keys: Partial<S3Keys>): S3Settings => {
    const settings = s3.settings(BUCKET, 'prod');
    const given = { accessKey: new Redacted(s3.accessKey), secretKey: new Redacted(s3.secretKey) };
    return { ...settings, keys: { ...given, sessionToken: undefined, ...keys } };
  };

  it.each([
    ['an unknown access key', 'keys', () => withKeys({ accessKey: new Redacted('AKIANOBODY') })],
    ['a wrong secret key', 'signature', () => withKeys({ secretKey: new Redacted('very-wrong') })],
    ['a bucket that is not there', 'bucket', () => s3.settings('no-such-bucket')],
  ] as const)('tells %s, and does not go on', async (_what, cause, settings) => {
    const found = await check(settings());
    expect(failures(found)).toEqual(['bucket']);
    expect(step(found, 'bucket')).toMatchObject({ cause, cure: expect.stringMatching(/\S/) });
    expect(step(found, 'put')).toMatchObject({ outcome: 'skip', says: expect.stringContaining('bucket') });
    expect(JSON.stringify(found)).not.toContain('very-wrong');
  });

  it('tells that nobody listens, and that a name cannot be resolved', async () => {
    const [port] = await freePorts(1);
    const away = await check({ ...s3.settings(BUCKET), endpoint: `127.0.0.1:${port}` });
    expect(failures(away)).toEqual(['tcp']);
    expect(step(away, 'tcp')).toMatchObject({ cause: 'tcp', code: 'unavailable' });
    const nameless = await check({ ...s3.settings(BUCKET), endpoint: 'no-such-host.invalid' });
    expect(failures(nameless)).toEqual(['dns']);
    expect(step(nameless, 'dns')).toMatchObject({
      cause: 'dns',
      says: expect.stringContaining('no-such-host'),
    });
  });

  it.each([
    [1200, 'fail', 'behind'],
    [-1200, 'fail', 'ahead of'],
    [120, 'warn', 'behind'],
  ])('tells by how many seconds the clocks differ: %i', async (seconds, outcome, word) => {
    await using front = await startFaultFront(s3.url);
    front.setRule(({ headers }) =>
      headers.authorization === undefined ? { clockOffByMs: seconds * 1000 } : undefined,
    );
    const found = await check(through(front));
    const clock = step(found, 'clock');
    expect(clock).toMatchObject({ outcome, cause: 'clock', says: expect.stringContaining(word) });
    expect(Math.abs((clock?.seconds ?? 0) + seconds)).toBeLessThan(30);
    expect(step(found, 'delete')?.outcome).toBe('pass');
  });

  it('tells a region that is another one, and works there', async () => {
    await using elsewhere = await startS3({ kind, region: 'eu-central-1' });
    await elsewhere.createBucket(BUCKET);
    const found = await check(elsewhere.settings(BUCKET, 'prod'));
    expect(failures(found)).toEqual([]);
    expect(step(found, 'bucket')).toMatchObject({
      outcome: 'warn',
      cause: 'region',
      cure: expect.stringContaining('--s3-region=eu-central-1'),
    });
    expect(found.target.region).toBe('eu-central-1');
  });

  it('tells that the server does not know bucket.host', async () => {
    await using proxy = await startConnectProxy({ hosts: { '*': s3.endpoint } });
    const settings: S3Settings = {
      ...s3.settings(BUCKET, 'prod'),
      endpoint: 's3.test',
      lookup: 'dns',
      proxy: new Redacted(proxy.url),
    };
    const found = await check(settings);
    expect(failures(found)).toEqual(['bucket']);
    expect(step(found, 'bucket')).toMatchObject({
      cause: 'path-style',
      cure: 'Use --s3-bucket-lookup-type=path.',
    });
  });

  it('tells that the server does not take checksums', async () => {
    await using front = await startFaultFront(s3.url);
    front.setRule(({ headers }) =>
      Object.keys(headers).some((name) => name.startsWith('x-amz-checksum-'))
        ? { status: 400, body: '<Error><Code>InvalidArgument</Code><Message>no</Message></Error>' }
        : undefined,
    );
    const found = await check(through(front, { checksums: 'when-supported' }));
    expect(step(found, 'put')).toMatchObject({
      outcome: 'fail',
      cause: 'checksums',
      cure: 'Use --s3-checksums=when-required.',
    });
    expect(found.left).toEqual([]);
  });

  it('tells that the server does not take what objects are to get', async () => {
    await using front = await startFaultFront(s3.url);
    front.setRule(({ headers }) => (headers['x-amz-storage-class'] === undefined ? undefined : denied));
    const objects = { storageClass: 'STANDARD_IA', acl: undefined, tags: new Map<string, string>() };
    const found = await check(through(front, { objects }));
    expect(step(found, 'put')).toMatchObject({
      cause: 'object-settings',
      cure: expect.stringContaining('--s3-storage-class'),
    });
  });

  it('has its canaries gone also where each object is locked for days', async () => {
    const client = s3.client();
    const Bucket = 'locked';
    await client.send(new CreateBucketCommand({ Bucket, ObjectLockEnabledForBucket: true }));
    await client.send(
      new PutObjectLockConfigurationCommand({
        Bucket,
        ObjectLockConfiguration: {
          ObjectLockEnabled: 'Enabled',
          Rule: { DefaultRetention: { Mode: 'COMPLIANCE', Days: 30 } },
        },
      }),
    );
    const found = await check(s3.settings(Bucket, 'prod'));
    expect(failures(found)).toEqual([]);
    expect(step(found, 'object lock')).toMatchObject({
      outcome: 'warn',
      cause: 'object-lock',
      says: 'each object is locked for 30 days (COMPLIANCE)',
    });
    expect(await remains(s3, Bucket)).toEqual([]);
  });
});
