import { mkdir, symlink } from 'node:fs/promises';
import { Agent } from 'node:https';
import { join } from 'node:path';
import { CreateBucketCommand, ListBucketsCommand, S3Client } from '@aws-sdk/client-s3';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { Redacted, type S3Settings } from '../../src/config/types.ts';
import { toolPath } from '../tools/toolbox.ts';
import { type Authority, certificateAuthority, type IssueOptions } from './certificates.ts';
import { freePorts, startServer } from './processes.ts';
import { scratchDir } from './scratch.ts';

export const s3Kinds = ['versitygw', 'minio'] as const;
export type S3Kind = (typeof s3Kinds)[number];

/** Each kind, over plain http and over TLS. */
export const s3Servers = s3Kinds.flatMap((kind) => [
  { kind, tls: false },
  { kind, tls: true },
]);

const ACCESS_KEY = 'AKIATESTBED';
const SECRET_KEY = 'test-bed-secret-key';

export interface S3Server extends AsyncDisposable {
  readonly kind: S3Kind;
  /** Where it keeps its buckets. */
  readonly dataDir: string;
  readonly url: string;
  /** `host:port` */
  readonly endpoint: string;
  readonly accessKey: string;
  readonly secretKey: string;
  /** Undefined for plain http. */
  readonly ca: Authority | undefined;
  /** Undefined for plain http. */
  readonly caFile: string | undefined;
  createBucket(name: string): Promise<void>;
  settings(bucket: string, folder?: string): S3Settings;
  /** A plain SDK client, to look behind our own. */
  client(): S3Client;
}

export interface S3Options {
  readonly kind: S3Kind;
  readonly tls?: boolean;
  /** `us-east-1` unless given. */
  readonly region?: string;
  /** Lets `bucket.<domain>` stand for a bucket, and is in the certificate. */
  readonly domain?: string;
  /** Encrypts whatever it is sent, unasked; MinIO can. */
  readonly encrypts?: boolean;
  readonly env?: Readonly<Record<string, string>>;
  /** What is wrong with the certificate; then only a client that does not check it gets through. */
  readonly certificate?: IssueOptions;
}

/** A real S3 server on loopback. Buckets are made through its API: a folder made by hand has no owner. */
export async function startS3(options: S3Options): Promise<S3Server> {
  const scratch = await scratchDir('s3-');
  const [port] = await freePorts(1);
  const endpoint = `127.0.0.1:${port}`;
  const tls = options.tls ?? false;
  const url = `${tls ? 'https' : 'http'}://${endpoint}`;
  const ca = tls ? await certificateAuthority(scratch.path, 's3') : undefined;
  const data = join(scratch.path, 'data');
  await mkdir(data);
  const start = options.kind === 'minio' ? minio : versitygw;
  const client = new S3Client({
    endpoint: url,
    region: options.region ?? 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId: ACCESS_KEY, secretAccessKey: SECRET_KEY },
    requestChecksumCalculation: 'WHEN_REQUIRED',
    maxAttempts: 2,
    requestHandler: new NodeHttpHandler({
      httpsAgent: new Agent({ ca: ca?.pem, rejectUnauthorized: options.certificate === undefined }),
    }),
  });
  const server = await start({ ...options, scratch: scratch.path, data, endpoint, ca, client });
  return {
    kind: options.kind,
    dataDir: data,
    url,
    endpoint,
    accessKey: ACCESS_KEY,
    secretKey: SECRET_KEY,
    ca,
    caFile: ca?.caFile,
    async createBucket(name) {
      await client.send(new CreateBucketCommand({ Bucket: name }));
    },
    settings: (bucket, folder = '') => ({
      endpoint,
      endpointCA: ca?.caFile ?? '',
      skipSSLVerify: false,
      insecure: !tls,
      keys: {
        accessKey: new Redacted(ACCESS_KEY),
        secretKey: new Redacted(SECRET_KEY),
        sessionToken: undefined,
      },
      bucket,
      region: 'us-east-1',
      folder,
      timeoutMs: 60_000,
      stallMs: 30_000,
      proxy: 'environment',
      lookup: 'auto',
      checksums: 'when-required',
      encryption: { kind: 'none' },
      objects: { storageClass: undefined, acl: undefined, tags: new Map() },
    }),
    client: () => client,
    async [Symbol.asyncDispose]() {
      client.destroy();
      await server[Symbol.asyncDispose]();
      await scratch[Symbol.asyncDispose]();
    },
  };
}

interface Plan extends S3Options {
  readonly scratch: string;
  readonly data: string;
  readonly endpoint: string;
  readonly ca: Authority | undefined;
  readonly client: S3Client;
}

async function versitygw(plan: Plan): Promise<AsyncDisposable> {
  const pair = await plan.ca?.issue('versitygw', issueFor(plan));
  return startServer({
    name: 'versitygw',
    command: await toolPath('versitygw'),
    args: [
      `--port=${plan.endpoint}`,
      `--region=${plan.region ?? 'us-east-1'}`,
      ...(plan.domain === undefined ? [] : [`--virtual-domain=${plan.domain}`]),
      ...(pair === undefined ? [] : [`--cert=${pair.certFile}`, `--key=${pair.keyFile}`]),
      'posix',
      plan.data,
    ],
    env: { ROOT_ACCESS_KEY: ACCESS_KEY, ROOT_SECRET_KEY: SECRET_KEY, ...plan.env },
    logFile: join(plan.scratch, 'versitygw.log'),
    ready: () => listsBuckets(plan.client),
  });
}

async function minio(plan: Plan): Promise<AsyncDisposable> {
  // Left to itself it takes a port that may be the one of the server.
  const free = await freePorts(2);
  const consolePort = free.find((port) => !plan.endpoint.endsWith(`:${port}`));
  const certs = join(plan.scratch, 'certs');
  await mkdir(certs);
  const pair = await plan.ca?.issue('minio', issueFor(plan));
  if (pair !== undefined) {
    await symlink(pair.certFile, join(certs, 'public.crt'));
    await symlink(pair.keyFile, join(certs, 'private.key'));
  }
  return startServer({
    name: 'minio',
    command: await toolPath('minio'),
    args: [
      'server',
      `--address=${plan.endpoint}`,
      `--console-address=127.0.0.1:${consolePort}`,
      `--certs-dir=${certs}`,
      '--quiet',
      plan.data,
    ],
    env: {
      MINIO_ROOT_USER: ACCESS_KEY,
      MINIO_ROOT_PASSWORD: SECRET_KEY,
      MINIO_UPDATE: 'off',
      MINIO_SITE_REGION: plan.region ?? 'us-east-1',
      ...(plan.domain === undefined ? {} : { MINIO_DOMAIN: plan.domain }),
      ...(plan.encrypts === true
        ? {
            MINIO_KMS_SECRET_KEY: `it:${Buffer.alloc(32, 7).toString('base64')}`,
            MINIO_KMS_AUTO_ENCRYPTION: 'on',
          }
        : {}),
      ...plan.env,
    },
    logFile: join(plan.scratch, 'minio.log'),
    ready: () => listsBuckets(plan.client),
  });
}

function issueFor({ domain, certificate }: Plan): IssueOptions {
  if (certificate !== undefined) return certificate;
  if (domain === undefined) return {};
  return { hosts: ['localhost', '127.0.0.1', '::1', domain, `*.${domain}`] };
}

async function listsBuckets(client: S3Client): Promise<boolean> {
  return client.send(new ListBucketsCommand({})).then(
    () => true,
    () => false,
  );
}
