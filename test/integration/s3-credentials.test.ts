import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { S3Settings } from '../../src/config/types.ts';
import { createS3Store } from '../../src/stores/s3-store.ts';
import { type AwsStandIn, startAwsStandIn, type TemporaryKeys } from '../support/aws-stand-in.ts';
import { runCommand, s3Flags } from '../support/command.ts';
import { startFaultFront } from '../support/fault-front.ts';
import { GrowingBytes, MIB, someBytes } from '../support/growing-bytes.ts';
import { until } from '../support/s3-looks.ts';
import { type S3Server, s3Kinds, startS3 } from '../support/s3-server.ts';
import { type ScratchDir, scratchDir } from '../support/scratch.ts';
import { uploadOf } from '../support/store-contract.ts';
import { temporaryKeys } from '../support/temporary-keys.ts';

const BUCKET = 'snapshots';
const NAME = 'on-demand-node-1-1730308816';
const PASS = 'Bearer of-this-pod';
const HOUR = 3_600_000;
const never = new AbortController().signal;
const quick = { program: 'k3s', nodeName: 'node-1', firstRetryMs: 1, maxAttempts: 1 } as const;
const wrong: TemporaryKeys = { accessKeyId: 'AKIAGONE', secretAccessKey: 'gone', sessionToken: 'gone' };

describe.each(s3Kinds)('keys that nobody gave, on %s', (kind) => {
  let s3: S3Server;
  let right: TemporaryKeys;
  let dir: ScratchDir;
  let aws: AwsStandIn;
  let settings: S3Settings;
  beforeAll(async () => {
    s3 = await startS3({ kind });
    await s3.createBucket(BUCKET);
    right = await temporaryKeys(s3);
    settings = { ...s3.settings(BUCKET), keys: undefined };
  });
  afterAll(() => s3?.[Symbol.asyncDispose]());
  beforeEach(async () => {
    [aws, dir] = await Promise.all([startAwsStandIn(PASS), scratchDir()]);
    aws.give(right, HOUR);
  });
  afterEach(async () => {
    vi.unstubAllEnvs();
    await aws[Symbol.asyncDispose]();
    await dir[Symbol.asyncDispose]();
  });

  const file = async (name: string, content: string) => {
    const path = join(dir.path, name);
    await writeFile(path, content);
    return path;
  };
  /** Where the keys come from, as the environment says it; nothing else is looked for. */
  const nothing = { AWS_EC2_METADATA_DISABLED: 'true', AWS_CONFIG_FILE: '/none', HOME: '/none' };
  const instance = () => ({
    ...nothing,
    AWS_EC2_METADATA_DISABLED: '',
    AWS_EC2_METADATA_SERVICE_ENDPOINT: aws.url,
  });
  const container = async () => ({
    ...nothing,
    AWS_CONTAINER_CREDENTIALS_FULL_URI: `${aws.url}/v1/credentials`,
    AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: await file('pass', PASS),
  });
  const webIdentity = async () => ({
    ...nothing,
    AWS_ENDPOINT_URL_STS: aws.url,
    AWS_REGION: 'us-east-1',
    AWS_ROLE_ARN: 'arn:aws:iam::1:role/snapshots',
    AWS_WEB_IDENTITY_TOKEN_FILE: await file('token', 'token-1'),
  });
  const list = (env: Record<string, string>, flags: readonly string[] = []) =>
    runCommand(['ls', '--distribution=custom', `--dir=${dir.path}`, ...s3Flags(settings), ...flags], env);
  const store = (env: Record<string, string>, change: Partial<S3Settings> = {}) => {
    for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
    return createS3Store({ ...settings, ...change }, quick);
  };

  it('are those of a profile in the shared file', async () => {
    const profile = `aws_access_key_id = ${right.accessKeyId}\naws_secret_access_key = ${right.secretAccessKey}`;
    const content = `[default]\naws_access_key_id = AKIAGONE\naws_secret_access_key = gone\n[backup]\n${profile}\naws_session_token = ${right.sessionToken}\n`;
    const shared = { ...nothing, AWS_SHARED_CREDENTIALS_FILE: await file('credentials', content) };
    expect(await list({ ...shared, AWS_PROFILE: 'backup' })).toMatchObject({ code: 0, stderr: '' });
    expect((await list(shared)).stderr).toContain('does not know this access key');
  });

  it('are those of the environment, session token and all', async () => {
    const env = { AWS_ACCESS_KEY_ID: right.accessKeyId, AWS_SECRET_ACCESS_KEY: right.secretAccessKey };
    const whole = { ...env, AWS_SESSION_TOKEN: right.sessionToken };
    expect(await list(whole)).toMatchObject({ code: 0, stderr: '' });
    expect((await list(env)).code).toBe(kind === 'minio' ? 1 : 0);
  });

  it('are those of a web identity (IRSA)', async () => {
    expect(await list(await webIdentity())).toMatchObject({ code: 0, stderr: '' });
    expect(aws.asked).toEqual(['sts arn:aws:iam::1:role/snapshots token-1']);
  });

  it('are those of a container or pod identity', async () => {
    expect(await list(await container())).toMatchObject({ code: 0, stderr: '' });
    expect(aws.asked).toEqual([`container ${PASS}`]);
  });

  it('are those of the instance, by version 2 of its metadata service', async () => {
    expect(await list(instance())).toMatchObject({ code: 0, stderr: '' });
    expect(aws.asked).toEqual(['instance snapshot-role']);
  });

  it('are nowhere: says where was looked, and what to do', async () => {
    const { code, stderr } = await list(nothing);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^ERRO.*Cannot get keys for S3[\s\S]*do: .*AWS_ACCESS_KEY_ID.*role/m);
  });

  it('are refused by STS, which is not taken for a refusal of S3', async () => {
    aws.refuse();
    const { code, stderr } = await list(await webIdentity());
    expect(code).toBe(1);
    expect(stderr).toMatch(/Cannot get keys for S3[\s\S]*AssumeRoleWithWebIdentity[\s\S]*do: .*role/);
    expect(stderr).not.toContain('Allow ListObjectsV2');
  });

  it('are fetched once while they last, and before each request when they end soon', async () => {
    const lasting = store(instance());
    await lasting.put(uploadOf(NAME, GrowingBytes.whole(someBytes(11 * MIB))), never);
    await lasting.list(never);
    expect(aws.asked).toHaveLength(1);
    aws.give(right, 60_000);
    const ending = createS3Store(settings, quick);
    await ending.list(never);
    await ending.list(never);
    await until(() => aws.asked.length > 2);
  });

  it('are taken from a token that was replaced in the meantime', async () => {
    const env = await webIdentity();
    aws.give(right, 60_000);
    const one = store(env);
    await one.list(never);
    await file('token', 'token-2');
    await one.list(never);
    expect(aws.asked[0]).toContain('token-1');
    expect(aws.asked.at(-1)).toContain('token-2');
  });

  it('are renewed once when S3 refuses them', async () => {
    aws.give(wrong, HOUR);
    const rotated = store(instance());
    await expect(rotated.list(never)).rejects.toMatchObject({ code: 'unauthenticated' });
    expect(aws.asked).toHaveLength(2);
    aws.give(right, HOUR);
    await expect(rotated.list(never)).rejects.toMatchObject({ code: 'unauthenticated' });
    expect(aws.asked).toHaveLength(2);

    aws.give(wrong, HOUR);
    await using front = await startFaultFront(s3.url);
    front.setRule(() => {
      aws.give(right, HOUR);
      return undefined;
    });
    const recovering = store(instance(), { endpoint: front.endpoint });
    expect(await recovering.list(never)).toBeDefined();
    expect(aws.asked).toHaveLength(4);
  });

  it('end while a snapshot is uploaded: the upload goes on with new ones', async () => {
    await using front = await startFaultFront(s3.url);
    let expired = false;
    front.setRule(({ path }) => {
      if (expired || !path.includes('partNumber=2')) return undefined;
      expired = true;
      return { status: 400, body: '<Error><Code>ExpiredToken</Code><Message>too old</Message></Error>' };
    });
    const uploading = createS3Store(
      { ...settings, endpoint: front.endpoint },
      { ...quick, partSize: 5 * MIB },
    );
    for (const [name, value] of Object.entries(instance())) vi.stubEnv(name, value);
    const { snapshot } = await uploading.put(
      uploadOf(`${NAME}1`, GrowingBytes.whole(someBytes(11 * MIB))),
      never,
    );
    expect(snapshot.size).toBe(11 * MIB);
    expect(expired).toBe(true);
    expect(aws.asked).toHaveLength(2);
  });
});

it('keys that were given are not tried twice', async () => {
  await using s3 = await startS3({ kind: 'versitygw' });
  await using front = await startFaultFront(s3.url);
  front.setRule(() => ({ status: 403, body: '<Error><Code>AccessDenied</Code></Error>' }));
  const settings = { ...s3.settings(BUCKET), endpoint: front.endpoint };
  await expect(createS3Store(settings, quick).stat(NAME, never)).rejects.toMatchObject({ code: 'forbidden' });
  expect(front.requests).toHaveLength(1);
});
