import type { Option, OptionKey } from './option.ts';

const every = ['save', 'ls', 'delete', 'prune', 'verify', 'restore', 'operator', 's3'] as const;
const pruning = ['prune', 'operator'] as const;
/** What is said of objects when they are made. */
const saving = ['save', 'operator', 's3'] as const;

function s3(name: string, key: OptionKey, rest: Pick<Option, 'type' | 'help'> & Partial<Option>): Option {
  return { key, flag: name, alias: `etcd-${name}`, section: 'S3', commands: every, ...rest };
}

/** The rows of S3: first those of the seed document, then k3s's newer ones, then our own. */
export const s3Options: readonly Option[] = [
  s3('s3', 's3', { type: 'boolean', help: 'Keep a copy on S3; list, delete or prune there too' }),
  s3('s3-endpoint', 's3Endpoint', {
    type: 'string',
    default: 's3.amazonaws.com',
    help: 'S3 server, as host[:port]',
  }),
  s3('s3-endpoint-ca', 's3EndpointCA', {
    type: 'string',
    path: 'file',
    help: 'CA of the S3 server: files, PEM or base64 of it, separated by spaces',
  }),
  s3('s3-skip-ssl-verify', 's3SkipSSLVerify', {
    type: 'boolean',
    help: 'Do not verify the certificate of the S3 server',
  }),
  s3('s3-access-key', 's3AccessKey', {
    type: 'string',
    env: ['AWS_ACCESS_KEY_ID'],
    secret: true,
    help: 'Access key; better given in the environment. Without one, the sources of the AWS SDK are asked',
  }),
  s3('s3-secret-key', 's3SecretKey', {
    type: 'string',
    env: ['AWS_SECRET_ACCESS_KEY'],
    secret: true,
    help: 'Secret key; better given in the environment',
  }),
  s3('s3-bucket', 's3Bucket', { type: 'string', help: 'Bucket; it must exist' }),
  s3('s3-region', 's3Region', { type: 'string', default: 'us-east-1', help: 'Region of the bucket' }),
  s3('s3-folder', 's3Folder', { type: 'string', help: 'Folder in the bucket' }),
  s3('s3-proxy', 's3Proxy', {
    type: 'string',
    secret: true,
    default: 'HTTP_PROXY, HTTPS_PROXY and NO_PROXY',
    help: 'Proxy on the way to S3, as http://host:port, or none; it beats the environment',
  }),
  s3('s3-insecure', 's3Insecure', { type: 'boolean', help: 'Plain http instead of https' }),
  s3('s3-timeout', 's3Timeout', {
    type: 'duration',
    default: '5m0s',
    help: 'Time limit of each operation on S3; of an upload, of each part and of its end',
  }),
  s3('s3-config-secret', 's3ConfigSecret', {
    type: 'string',
    help: 'Secret in kube-system that holds all settings of S3; only read when no other one is given',
  }),
  s3('s3-session-token', 's3SessionToken', {
    type: 'string',
    env: ['AWS_SESSION_TOKEN'],
    secret: true,
    help: 'Session token that belongs to temporary keys; that of the environment only counts beside a secret key from there',
  }),
  s3('s3-bucket-lookup-type', 's3BucketLookupType', {
    type: 'choice',
    choices: ['auto', 'dns', 'path'],
    default: 'auto',
    help: 'How the bucket is addressed: dns (bucket.host), path (host/bucket), or as the endpoint wants it',
  }),
  s3('s3-retention', 's3Retention', {
    type: 'count',
    mayBeNegative: true,
    default: 'as on disk',
    commands: pruning,
    help: 'How many snapshots of each node pruning leaves on S3; only prune and the operator do',
  }),
  s3('s3-stall-timeout', 's3StallTimeout', {
    type: 'duration',
    default: '30s',
    help: 'Longest time without a byte on a connection to S3 that is in use',
  }),
  s3('s3-checksums', 's3Checksums', {
    type: 'choice',
    choices: ['when-required', 'when-supported'],
    default: 'when-required',
    help: 'When CRC checksums are sent and checked; not every server knows them',
  }),
  s3('s3-sse', 's3Sse', {
    type: 'choice',
    choices: ['none', 'sse-s3', 'sse-kms', 'sse-c'],
    default: 'none',
    help: "Encryption by the server: none (the bucket's own), sse-s3, sse-kms or sse-c",
  }),
  s3('s3-sse-kms-key-id', 's3SseKmsKeyId', {
    type: 'string',
    commands: saving,
    help: 'Key of sse-kms; without one, the default key of the account',
  }),
  s3('s3-sse-c-key', 's3SseCKey', {
    type: 'string',
    secret: true,
    help: 'Key of sse-c: base64 of 32 bytes. Who loses it loses the snapshots',
  }),
  s3('s3-storage-class', 's3StorageClass', {
    type: 'string',
    commands: saving,
    default: "the bucket's",
    help: 'Storage class of the objects, STANDARD_IA for one',
  }),
  s3('s3-acl', 's3Acl', {
    type: 'choice',
    choices: ['private', 'bucket-owner-read', 'bucket-owner-full-control'],
    commands: saving,
    default: "the bucket's",
    help: 'Canned ACL of the objects; never a public one, for a snapshot holds every Secret of the cluster',
  }),
  s3('s3-tags', 's3Tags', {
    type: 'list',
    commands: saving,
    help: 'Tags of the objects, as key=value, separated by commas',
  }),
];

/** What decides where settings come from is no setting of a Secret. */
const NOT_IN_SECRET: readonly OptionKey[] = ['s3', 's3ConfigSecret'];

/** Keys of the S3 Secret and the settings they stand for. */
export const s3SecretKeys: ReadonlyMap<string, Option> = new Map(
  s3Options
    .filter((option) => !NOT_IN_SECRET.includes(option.key))
    .map((option) => [option.alias ?? option.flag, option]),
);
