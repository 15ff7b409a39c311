import {
  CreateBucketCommand,
  PutBucketLifecycleConfigurationCommand,
  PutObjectLockConfigurationCommand,
} from '@aws-sdk/client-s3';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runCommand } from '../support/command.ts';
import { type ConnectProxy, startConnectProxy } from '../support/connect-proxy.ts';
import { type FaultFront, startFaultFront } from '../support/fault-front.ts';
import { type S3Server, startS3 } from '../support/s3-server.ts';
import { temporaryKeys } from '../support/temporary-keys.ts';

const BUCKET = 'backups';

let secure: S3Server;
let plain: S3Server;
let proxy: ConnectProxy;
let front: FaultFront;
beforeAll(async () => {
  [secure, plain] = await Promise.all([
    startS3({ kind: 'minio', tls: true, certificate: { hosts: ['localhost'] } }),
    startS3({ kind: 'minio' }),
  ]);
  for (const s3 of [secure, plain]) await s3.createBucket(BUCKET);
  proxy = await startConnectProxy({ hosts: { '*': plain.endpoint } });
  front = await startFaultFront(plain.url);
  front.setRule(({ headers }) =>
    headers.authorization === undefined ? { clockOffByMs: 1_200_000 } : undefined,
  );
});
afterAll(async () => {
  await front?.[Symbol.asyncDispose]();
  await proxy?.[Symbol.asyncDispose]();
  await secure?.[Symbol.asyncDispose]();
  await plain?.[Symbol.asyncDispose]();
});

type Names = readonly (readonly [real: string, shown: string])[];

interface Run {
  readonly flags: readonly string[];
  readonly keys?: { readonly accessKey: string; readonly secretKey: string; readonly token?: string };
  readonly names: Names;
  readonly code: number;
}

/** What somebody would see who calls it so: with names for the addresses of the test, and times that stay. */
async function transcript({ flags, keys = secure, names, code }: Run): Promise<string> {
  const ran = await runCommand(['s3', 'check', ...flags], {
    AWS_ACCESS_KEY_ID: keys.accessKey,
    AWS_SECRET_ACCESS_KEY: keys.secretKey,
    ...('token' in keys ? { AWS_SESSION_TOKEN: keys.token } : {}),
  });
  expect(ran.code, ran.stdout + ran.stderr).toBe(code);
  expect(ran.stderr).toBe('');
  const call = ['etcd-snapshot s3 check', ...flags].join(' \\\n    ');
  const text = `$ ${call}\n${ran.stdout}$ echo $?\n${code}`;
  const readable = names.reduce((before, [real, name]) => before.replaceAll(real, name), text);
  return `\`\`\`console\n${readable
    .replaceAll(/\blocalhost is [0-9a-f.:, ]+/g, 's3.example.com is 192.0.2.10')
    .replaceAll('localhost', 's3.example.com')
    .replaceAll(/valid from \S+ until [\d-]+/g, 'valid from 2026-11-01 until 2027-02-01')
    .replaceAll(/is \d s (?:ahead of|behind)/g, 'is 0 s ahead of')
    .replaceAll(/is 1[12]\d\d s/g, 'is 1200 s')}\n\`\`\``;
}

const PORT = '9000';
const RESOLVED = [
  '127.0.0.1 is an address, there is no name to resolve',
  's3.example.com is 192.0.2.10',
] as const;
const portOf = (endpoint: string) => endpoint.split(':').at(-1) ?? '';
const target = (endpoint: string) => [
  `--s3-endpoint=${endpoint}`,
  `--s3-bucket=${BUCKET}`,
  '--s3-folder=prod',
];

const here: Names = [RESOLVED];
const shown: string[] = [];

/** One chapter of the page. */
function chapter(title: string, plan: () => Promise<Run>): void {
  it(`shows ${title.charAt(0).toLowerCase()}${title.slice(1)}`, async () => {
    shown.push(`## ${title}\n\n${await transcript(await plan())}\n`);
  });
}

/** The server with TLS, by a name. */
const named = () => `localhost:${portOf(secure.endpoint)}`;
const names = (): Names => [
  [named(), `s3.example.com:${PORT}`],
  [secure.caFile ?? '', '/etc/ssl/s3-ca.crt'],
];
const withCa = () => [...target(named()), `--s3-endpoint-ca=${secure.caFile}`];
const plainNames = (endpoint = plain.endpoint): Names => [[endpoint, `s3.example.com:${PORT}`], ...here];

chapter('A good store', async () => ({ flags: withCa(), names: names(), code: 0 }));

chapter('A certificate that nobody here knows', async () => ({
  flags: target(named()),
  names: names(),
  code: 1,
}));

chapter('A secret key that does not belong to the access key', async () => ({
  flags: withCa(),
  keys: { accessKey: secure.accessKey, secretKey: `${secure.secretKey}x` },
  names: names(),
  code: 1,
}));

chapter('Keys that may not delete', async () => {
  const Action = [
    's3:ListBucket',
    's3:ListBucketMultipartUploads',
    's3:PutObject',
    's3:GetObject',
    's3:AbortMultipartUpload',
    's3:GetBucketVersioning',
    's3:GetBucketObjectLockConfiguration',
    's3:GetLifecycleConfiguration',
  ];
  const Statement = [{ Effect: 'Allow', Action, Resource: ['arn:aws:s3:::*'] }];
  const few = await temporaryKeys(plain, { Version: '2012-10-17', Statement });
  return {
    flags: [...target(plain.endpoint), '--s3-insecure'],
    keys: { accessKey: few.accessKeyId, secretKey: few.secretAccessKey, token: few.sessionToken },
    names: plainNames(),
    code: 1,
  };
});

chapter('A server that does not know `bucket.host`', async () => ({
  flags: [
    ...target('s3.example.com'),
    '--s3-insecure',
    '--s3-bucket-lookup-type=dns',
    `--s3-proxy=${proxy.url}`,
  ],
  names: [
    [new URL(proxy.url).host, 'proxy.example.com:3128'],
    [RESOLVED[0], 'proxy.example.com is 192.0.2.11'],
  ],
  code: 1,
}));

chapter('A clock that is twenty minutes off', async () => ({
  flags: [...target(front.endpoint), '--s3-insecure'],
  names: plainNames(front.endpoint),
  code: 1,
}));

chapter('A bucket with rules of its own', async () => {
  const client = plain.client();
  const Bucket = 'locked';
  await client.send(new CreateBucketCommand({ Bucket, ObjectLockEnabledForBucket: true }));
  const Rule = { DefaultRetention: { Mode: 'COMPLIANCE' as const, Days: 30 } };
  const ObjectLockConfiguration = { ObjectLockEnabled: 'Enabled' as const, Rule };
  await client.send(new PutObjectLockConfigurationCommand({ Bucket, ObjectLockConfiguration }));
  const Rules = [
    { ID: 'tidy', Status: 'Enabled' as const, Filter: { Prefix: 'prod/' }, Expiration: { Days: 7 } },
  ];
  await client.send(
    new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration: { Rules } }),
  );
  const flags = [`--s3-endpoint=${plain.endpoint}`, '--s3-bucket=locked', '--s3-folder=prod'];
  return { flags: [...flags, '--s3-insecure'], names: plainNames(), code: 0 };
});

it('is all that docs/s3-check.md shows: else run this file with vitest -u', async () => {
  const intro =
    'Real answers for one good store and several broken ones. What each step does, and what the words mean: [s3.md](s3.md#checking-a-store).';
  await expect(`# What \`s3 check\` says

<!-- Written by test/integration/s3-check-transcripts.test.ts, from real calls; edit the program, not this file. -->

${intro}

${shown.join('\n')}`).toMatchFileSnapshot('../../docs/s3-check.md');
});
