import { asError, isSnapshotError, SnapshotError, systemCode } from '../errors.ts';
import {
  BY_CODE,
  type Failure,
  notHttp,
  notTls,
  type S3Call,
  slow,
  type Translation,
} from './s3-connection-errors.ts';

const KEYS = 'Check --s3-access-key and --s3-secret-key.';

const wrongKey: Translation = {
  code: 'unauthenticated',
  why: (call) => `${call.endpoint} does not know this access key`,
  hint: KEYS,
};
const wrongSecret: Translation = {
  code: 'unauthenticated',
  why: (call) => `${call.endpoint} refuses the signature: the secret key does not belong to the access key`,
  hint: 'Check --s3-secret-key, and that nothing between rewrites the Host header.',
};
const denied: Translation = {
  code: 'forbidden',
  why: (call) => `${call.endpoint} does not allow ${call.operation} in bucket ${call.bucket}`,
  hint: (call) =>
    `Allow ${call.operation} in bucket ${call.bucket} to this key, or check --s3-access-key and --s3-secret-key.`,
};
const noBucket: Translation = {
  code: 'not-found',
  why: (call) => `there is no bucket ${call.bucket} at ${call.endpoint}`,
  hint: 'Make the bucket, or correct --s3-bucket; buckets are never made by this program.',
};
const noObject: Translation = {
  code: 'not-found',
  why: (call) => `there is no such object in bucket ${call.bucket}`,
  hint: 'List what there is with "etcd-snapshot ls --s3", and check --s3-folder.',
};
const later: Translation = {
  code: 'unavailable',
  why: (call, failure) =>
    `${call.endpoint} asks to come back later (${failure.name}, HTTP ${failure.status ?? 503})`,
  hint: 'Try again later; the server is overloaded or being repaired.',
  retryable: true,
};
const skewed: Translation = {
  code: 'clock-skew',
  why: (call, failure) => skew(call, failure.headers['date']),
  hint: 'Set the clock of this node right (NTP), then try again.',
};
const wrongRegion: Translation = {
  code: 'usage',
  why: (call, failure) =>
    failure.region === undefined
      ? `bucket ${call.bucket} is not in region ${call.region}`
      : `bucket ${call.bucket} is in region ${failure.region}, not in ${call.region}`,
  hint: (_call, failure) =>
    failure.region === undefined
      ? 'Set --s3-region to the region of the bucket, or --s3-endpoint to the endpoint of that region.'
      : `Use --s3-region=${failure.region}.`,
};
const damaged: Translation = {
  code: 'corrupt',
  why: (call) => `${call.endpoint} received other bytes than were sent: their checksum is another one`,
  hint: 'Try again; if it stays so, check what stands before the server (proxies), and the memory of this node.',
  retryable: true,
};
const badName: Translation = {
  code: 'usage',
  why: (call) => `${call.endpoint} does not take ${call.bucket} as the name of a bucket`,
  hint: 'Correct --s3-bucket.',
};
const BY_NAME: Readonly<Record<string, Translation>> = {
  InvalidAccessKeyId: wrongKey,
  InvalidClientTokenId: wrongKey,
  XAdminUserNotFound: wrongKey,
  SignatureDoesNotMatch: wrongSecret,
  AccessDenied: denied,
  AllAccessDisabled: denied,
  NoSuchBucket: noBucket,
  NoSuchKey: noObject,
  NotFound: noObject,
  NoSuchUpload: noObject,
  SlowDown: later,
  SlowDownRead: later,
  SlowDownWrite: later,
  ServiceUnavailable: later,
  InternalError: later,
  Throttling: later,
  ThrottlingException: later,
  TooManyRequests: later,
  RequestLimitExceeded: later,
  RequestTimeout: slow,
  TimeoutError: slow,
  BadDigest: damaged,
  XAmzContentSHA256Mismatch: damaged,
  XAmzContentChecksumMismatch: damaged,
  RequestTimeTooSkewed: skewed,
  PermanentRedirect: wrongRegion,
  AuthorizationHeaderMalformed: wrongRegion,
  IllegalLocationConstraintException: wrongRegion,
  InvalidBucketName: badName,
};

/** What a failed call means for the user. Never carries a secret: only the error's name, message and request id are kept. */
export function fromS3Error(error: unknown, call: S3Call): SnapshotError {
  if (isSnapshotError(error)) return error;
  const failure = read(error);
  const cause = withoutRequest(error, failure);
  const found = translate(error, failure);
  if (found === undefined) {
    return new SnapshotError('protocol', call.doing, {
      why: `${call.endpoint} answered ${call.operation} with ${failure.name}${failure.status === undefined ? '' : ` (HTTP ${failure.status})`}`,
      hint: 'Check that --s3-endpoint is an S3 server; --debug shows its answer.',
      cause,
    });
  }
  return new SnapshotError(found.code, call.doing, {
    ...(found.why === undefined ? {} : { why: found.why(call, failure) }),
    hint: typeof found.hint === 'string' ? found.hint : found.hint(call, failure),
    retryable: found.retryable ?? false,
    cause,
  });
}

/** S3's own name of an error, for the few that are an answer and not a failure. */
export function isS3Error(error: unknown, ...names: readonly string[]): boolean {
  const cause = isSnapshotError(error) ? error.cause : error;
  return cause instanceof Error && names.includes(cause.name);
}

function translate(error: unknown, failure: Failure): Translation | undefined {
  const byCode = BY_CODE[systemCode(error) ?? ''];
  if (byCode !== undefined) return byCode;
  const byName = BY_NAME[failure.name];
  if (byName !== undefined) return byName;
  const code = systemCode(error) ?? '';
  if (code.startsWith('ERR_SSL_')) return notTls;
  if (code.startsWith('HPE_')) return notHttp;
  return byStatus(failure);
}

/** What the SDK calls an error whose answer has no body. */
const NAMELESS: readonly string[] = ['UnknownError', 'Unknown', 'Error'];

/** HEAD answers and proxies tell nothing but a status. */
function byStatus({ name, status }: Failure): Translation | undefined {
  if (status === undefined) return undefined;
  if (status === 429 || status >= 500) return later;
  if (status === 401) return wrongKey;
  if (status === 403) return denied;
  if (status === 404 && NAMELESS.includes(name)) return noObject;
  if (status === 301 || status === 307) return wrongRegion;
  return status === 400 ? notHttp : undefined;
}

function read(error: unknown): Failure {
  const metadata = field(error, '$metadata');
  const response = field(error, '$response');
  const status = field(metadata, 'httpStatusCode') ?? field(response, 'statusCode');
  const headers = Object.entries(asRecord(field(response, 'headers')) ?? {}).flatMap(([name, value]) =>
    typeof value === 'string' ? [[name.toLowerCase(), value] as const] : [],
  );
  const byName = Object.fromEntries(headers);
  const region = field(error, 'Region') ?? byName['x-amz-bucket-region'];
  return {
    name: asError(error).name,
    status: typeof status === 'number' ? status : undefined,
    headers: byName,
    region: typeof region === 'string' ? region : undefined,
  };
}

/** The SDK's errors drag the whole response along, and with it the signed request: a dump of them would show it. */
function withoutRequest(error: unknown, failure: Failure): Error {
  const original = asError(error);
  const copy = new Error(original.message);
  const requestId = field(field(error, '$metadata'), 'requestId');
  return Object.assign(copy, {
    name: original.name,
    ...(systemCode(error) === undefined ? {} : { code: systemCode(error) }),
    ...(failure.status === undefined ? {} : { status: failure.status }),
    ...(typeof requestId === 'string' ? { requestId } : {}),
  });
}

function skew(call: S3Call, date: string | undefined): string {
  const server = date === undefined ? Number.NaN : Date.parse(date);
  if (Number.isNaN(server)) return `the clocks of this node and ${call.endpoint} differ too much`;
  const seconds = Math.round((call.now.getTime() - server) / 1000);
  return `the clock of this node is ${Math.abs(seconds)} s ${seconds < 0 ? 'behind' : 'ahead of'} that of ${call.endpoint}`;
}

function asRecord(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null ? { ...value } : undefined;
}

function field(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined;
  return (value as Record<string, unknown>)[name];
}
