import { type ErrorCode, systemCode, unknownCaCodes } from '../errors.ts';
import type { Failure } from './s3-failure.ts';
import { rightFor } from './s3-policy.ts';

/** The call that failed, in the words of the user and of S3. */
export interface S3Call {
  /** What could not be done: `Cannot list s3://bucket/folder`. */
  readonly doing: string;
  /** S3's name of the operation: `ListObjectsV2`, … */
  readonly operation: string;
  /** `host[:port]` */
  readonly endpoint: string;
  readonly bucket: string;
  readonly region: string;
  /** Plain http. */
  readonly insecure: boolean;
  /** `host:port` of the proxy on the way; undefined: there is none. */
  readonly proxy: string | undefined;
  /** The CAs that were loaded beside those of Node and of this machine. */
  readonly authorities: readonly string[];
  /** For the clock comparison. */
  readonly now: Date;
}

export interface Translation {
  readonly code: ErrorCode;
  readonly why?: (call: S3Call, failure: Failure) => string;
  readonly hint: string | ((call: S3Call, failure: Failure) => string);
  readonly retryable?: boolean;
}

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
    `Allow ${call.operation} in bucket ${call.bucket} to this key${inPolicy(call)}, or check --s3-access-key and --s3-secret-key.`,
};
/** Amazon's policies have other names for the operations than its API. */
function inPolicy({ operation }: S3Call): string {
  const right = rightFor(operation);
  return right === undefined ? '' : ` (${right} in a policy)`;
}
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
const expired: Translation = {
  code: 'unauthenticated',
  why: (call) => `${call.endpoint} says that the temporary keys have expired`,
  hint: 'Renew --s3-session-token and the keys that belong to it, or what gives this node its keys.',
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
/** What an object should get, and the server does not take. */
const unwanted = (what: string, flag: string): Translation => ({
  code: 'usage',
  why: (call) => `${call.endpoint} does not take this ${what}`,
  hint: `Correct ${flag}, or leave it out.`,
});
const slow: Translation = {
  code: 'timeout',
  why: (call) => `${call.endpoint} does not answer`,
  hint: 'Check --s3-endpoint and the network; --s3-timeout gives an operation more time.',
  retryable: true,
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
  ExpiredToken: expired,
  ExpiredTokenException: expired,
  TokenRefreshRequired: expired,
  InvalidToken: {
    code: 'unauthenticated',
    why: (call) => `${call.endpoint} does not know this session token`,
    hint: 'Check that --s3-session-token belongs to the keys.',
  },
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
  SecondLevelDomainForbidden: {
    code: 'usage',
    why: (call) => `${call.endpoint} wants the name of the bucket before its own`,
    hint: 'Use --s3-bucket-lookup-type=dns.',
  },
  InvalidTag: unwanted('tag', '--s3-tags'),
  InvalidStorageClass: unwanted('storage class', '--s3-storage-class'),
  AccessControlListNotSupported: unwanted('ACL', '--s3-acl'),
};

const unknownCa: Translation = {
  code: 'tls',
  why: ({ endpoint, authorities }) =>
    `the certificate of ${endpoint} is not signed by a CA that is trusted here: ${['those of Node and of this machine', ...authorities].join(', ')}`,
  hint: 'Name its CA with --s3-endpoint-ca.',
};
const unknownHost: Translation = {
  code: 'unavailable',
  why: (call) => `the name ${call.endpoint} cannot be resolved`,
  hint: 'Check --s3-endpoint and the DNS of this node.',
  retryable: true,
};
const notTls: Translation = {
  code: 'protocol',
  why: (call) => `${call.endpoint} does not speak TLS`,
  hint: 'Add --s3-insecure if the server speaks plain http, or correct the port in --s3-endpoint.',
};
const damagedOnTheWay: Translation = {
  code: 'unavailable',
  why: (call) => `bytes were damaged on the way between this node and ${call.endpoint}: TLS has noticed it`,
  hint: 'Try again; if it stays so, check what stands between, and the memory and network card of this node.',
  retryable: true,
};
const notHttp: Translation = {
  code: 'protocol',
  why: (call) => `${call.endpoint} does not answer like an S3 server over plain http`,
  hint: 'Leave out --s3-insecure if the server speaks TLS, or correct --s3-endpoint.',
};
/** To HEAD no server gives a reason; a TLS port answers plain http like this. */
const badRequest: Translation = {
  code: 'protocol',
  why: (call) =>
    call.insecure
      ? `${call.endpoint} does not answer like an S3 server over plain http`
      : `${call.endpoint} takes ${call.operation} for a bad request, and does not say why`,
  hint: (call) =>
    call.insecure
      ? 'Leave out --s3-insecure if the server speaks TLS, or correct --s3-endpoint.'
      : 'If it is about a snapshot that was stored with sse-c, give its --s3-sse-c-key; else check --s3-endpoint.',
};
const away: Translation = {
  code: 'unavailable',
  why: (call) => `nobody listens at ${call.endpoint}`,
  hint: 'Check --s3-endpoint, and that the server runs.',
  retryable: true,
};
const cut: Translation = {
  code: 'unavailable',
  why: (call) => `${call.endpoint} broke the connection off`,
  // A TLS port may answer plain http with nothing at all.
  hint: (call) =>
    call.insecure
      ? 'Try again; if it stays so, leave out --s3-insecure, for the server may speak TLS.'
      : 'Try again; if it stays so, check the server and what stands between.',
  retryable: true,
};

/** Codes of Node, OpenSSL and libuv, as seen on connections to S3 servers. */
const BY_CODE: Readonly<Record<string, Translation>> = {
  ...unknownCaCodes(unknownCa),
  CERT_HAS_EXPIRED: {
    code: 'tls',
    why: (call) => `the certificate of ${call.endpoint} has expired`,
    hint: 'Renew it, and check the clock of this node; --s3-endpoint-ca does not help here.',
  },
  CERT_NOT_YET_VALID: {
    code: 'tls',
    why: (call) => `the certificate of ${call.endpoint} is not valid yet`,
    hint: 'Check the clock of this node.',
  },
  ERR_TLS_CERT_ALTNAME_INVALID: {
    code: 'tls',
    why: (call) => `the certificate of ${call.endpoint} is for another host name`,
    hint: 'Use a name in --s3-endpoint that the certificate contains, or check that --s3-endpoint-ca and server belong together.',
  },
  EPROTO: notTls,
  ERR_SSL_WRONG_VERSION_NUMBER: notTls,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: notTls,
  'ERR_SSL_SSL/TLS_ALERT_BAD_RECORD_MAC': damagedOnTheWay,
  ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC: damagedOnTheWay,
  HPE_INVALID_CONSTANT: notHttp,
  ECONNREFUSED: away,
  EHOSTUNREACH: away,
  ENETUNREACH: away,
  ENOTFOUND: unknownHost,
  EAI_AGAIN: unknownHost,
  ECONNRESET: cut,
  EPIPE: cut,
  ETIMEDOUT: slow,
  ESOCKETTIMEDOUT: slow,
};

/** What a failure means; undefined for one that nobody has met yet. */
export function translationOf(error: unknown, failure: Failure): Translation | undefined {
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
function byStatus({ name, status, skewCorrected }: Failure): Translation | undefined {
  if (status === undefined) return undefined;
  if (status === 429 || status >= 500) return later;
  if (status === 401) return wrongKey;
  if (status === 403) return skewCorrected ? skewed : denied;
  if (status === 404 && NAMELESS.includes(name)) return noObject;
  if (status === 301 || status === 307) return wrongRegion;
  return status === 400 ? badRequest : undefined;
}

function skew(call: S3Call, date: string | undefined): string {
  const server = date === undefined ? Number.NaN : Date.parse(date);
  if (Number.isNaN(server)) return `the clocks of this node and ${call.endpoint} differ too much`;
  const seconds = Math.round((call.now.getTime() - server) / 1000);
  return `the clock of this node is ${Math.abs(seconds)} s ${seconds < 0 ? 'behind' : 'ahead of'} that of ${call.endpoint}`;
}
