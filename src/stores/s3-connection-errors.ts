import type { ErrorCode } from '../errors.ts';

/** The call that failed, in the words of the user and of S3. */
export interface S3Call {
  /** What could not be done: `Cannot list s3://bucket/folder`. */
  readonly doing: string;
  /** S3's name of the operation: `ListObjectsV2`, … It is also the action that a policy must allow. */
  readonly operation: string;
  /** `host[:port]` */
  readonly endpoint: string;
  readonly bucket: string;
  readonly region: string;
  /** Plain http. */
  readonly insecure: boolean;
  /** For the clock comparison. */
  readonly now: Date;
}

export interface Translation {
  readonly code: ErrorCode;
  readonly why?: (call: S3Call, failure: Failure) => string;
  readonly hint: string | ((call: S3Call, failure: Failure) => string);
  readonly retryable?: boolean;
}

/** What the SDK's errors tell, read by field. */
export interface Failure {
  readonly name: string;
  readonly status: number | undefined;
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** Region that the server names in an error about regions. */
  readonly region: string | undefined;
}

export const slow: Translation = {
  code: 'timeout',
  why: (call) => `${call.endpoint} does not answer`,
  hint: 'Check --s3-endpoint and the network; --s3-timeout gives an operation more time.',
  retryable: true,
};

const unknownCa: Translation = {
  code: 'tls',
  why: (call) => `the certificate of ${call.endpoint} is not signed by a CA that is trusted here`,
  hint: 'Name its CA with --s3-endpoint-ca.',
};
const unknownHost: Translation = {
  code: 'unavailable',
  why: (call) => `the name ${call.endpoint} cannot be resolved`,
  hint: 'Check --s3-endpoint and the DNS of this node.',
  retryable: true,
};
export const notTls: Translation = {
  code: 'protocol',
  why: (call) => `${call.endpoint} does not speak TLS`,
  hint: 'Add --s3-insecure if the server speaks plain http, or correct the port in --s3-endpoint.',
};
export const notHttp: Translation = {
  code: 'protocol',
  why: (call) => `${call.endpoint} does not answer like an S3 server over plain http`,
  hint: 'Leave out --s3-insecure if the server speaks TLS, or correct --s3-endpoint.',
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
export const BY_CODE: Readonly<Record<string, Translation>> = {
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: unknownCa,
  UNABLE_TO_GET_ISSUER_CERT: unknownCa,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: unknownCa,
  SELF_SIGNED_CERT_IN_CHAIN: unknownCa,
  DEPTH_ZERO_SELF_SIGNED_CERT: unknownCa,
  CERT_SIGNATURE_FAILURE: unknownCa,
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
