import { type ErrorCode, SnapshotError, systemCode, unknownCaCodes } from '../errors.ts';

interface Translation {
  readonly code: ErrorCode;
  /** In our words, where those of OpenSSL and Node say nothing to a user of ours, or give advice about Node. */
  readonly why?: string;
  readonly hint: string;
  readonly retryable?: boolean;
}

const FLAGS_CA = 'Give --etcd-cafile the CA that signed the server certificate of etcd.';
const FLAGS_CLIENT =
  'Give --etcd-certfile and --etcd-keyfile a client certificate whose CA etcd trusts (its --trusted-ca-file).';
const SCHEME =
  'Check the scheme and the port of --etcd-servers: https:// for a TLS port, http:// only for a plain one.';

const unknownCa: Translation = {
  code: 'tls',
  why: 'the certificate of etcd is not signed by a CA that is trusted here',
  hint: FLAGS_CA,
};
const clientRefused: Translation = {
  code: 'unauthenticated',
  why: 'etcd wants a client certificate, and got none, or none that it trusts',
  hint: FLAGS_CLIENT,
};
const wrongScheme: Translation = { code: 'protocol', hint: SCHEME };
const away: Translation = {
  code: 'unavailable',
  hint: 'Check that etcd runs and listens there, and that the scheme in --etcd-servers fits: https for a TLS port.',
  retryable: true,
};
const slow: Translation = {
  code: 'timeout',
  hint: 'Check that the etcd member is healthy and that nothing between drops its packets.',
  retryable: true,
};

/** Codes of Node, OpenSSL and libuv, as seen on connections to etcd. */
const BY_CODE: Readonly<Record<string, Translation>> = {
  ...unknownCaCodes(unknownCa),
  CERT_HAS_EXPIRED: {
    code: 'tls',
    hint: 'The certificate of etcd has expired: renew it, and check the clock of this node.',
  },
  CERT_NOT_YET_VALID: {
    code: 'tls',
    hint: 'The certificate of etcd is not valid yet: check the clock of this node.',
  },
  ERR_TLS_CERT_ALTNAME_INVALID: {
    code: 'tls',
    hint: 'Use a host name or address in --etcd-servers that the certificate of etcd contains.',
  },
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: clientRefused,
  ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE: clientRefused,
  'ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE': clientRefused,
  'ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE': clientRefused,
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED: clientRefused,
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: clientRefused,
  ERR_SSL_WRONG_VERSION_NUMBER: wrongScheme,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: wrongScheme,
  EPROTO: wrongScheme,
  ERR_HTTP2_ERROR: wrongScheme,
  ECONNREFUSED: away,
  ECONNRESET: away,
  EPIPE: away,
  EHOSTUNREACH: away,
  ENETUNREACH: away,
  ERR_HTTP2_STREAM_ERROR: away,
  ERR_HTTP2_STREAM_CANCEL: away,
  ERR_HTTP2_SESSION_ERROR: away,
  ERR_HTTP2_GOAWAY_SESSION: away,
  ENOTFOUND: { code: 'unavailable', hint: 'Check the host name in --etcd-servers.' },
  EAI_AGAIN: {
    code: 'unavailable',
    hint: 'The resolver did not answer: check DNS on this node.',
    retryable: true,
  },
  ETIMEDOUT: slow,
};

/** gRPC status codes that etcd or a proxy before it may end a call with. */
const BY_GRPC_STATUS: Readonly<Record<number, Translation>> = {
  4: slow,
  7: { code: 'forbidden', hint: 'The etcd user of this certificate needs the role root to take snapshots.' },
  8: away,
  12: { code: 'protocol', hint: 'Check --etcd-servers: this member does not know the call.' },
  14: away,
  16: { code: 'unauthenticated', hint: FLAGS_CLIENT },
};

/** What a failed socket, handshake or HTTP/2 session means for the user. */
export function fromConnectionError(doing: string, error: Error): SnapshotError {
  const code = systemCode(error) ?? '';
  const known = BY_CODE[code] ?? away;
  return new SnapshotError(known.code, doing, {
    why: code === '' ? error.message : `${known.why ?? error.message.split('\n')[0]} (${code})`,
    hint: known.hint,
    retryable: known.retryable ?? false,
    cause: error,
  });
}

/** What a gRPC status other than OK means for the user. */
export function fromGrpcStatus(doing: string, status: number, message: string): SnapshotError {
  const known = BY_GRPC_STATUS[status] ?? { code: 'protocol', hint: 'See the log of that etcd member.' };
  return new SnapshotError(known.code, doing, {
    why: `etcd says: ${message === '' ? 'nothing' : message} (gRPC status ${status})`,
    hint: known.hint,
    retryable: known.retryable ?? false,
  });
}

export function timedOut(doing: string, milliseconds: number): SnapshotError {
  return new SnapshotError(slow.code, doing, {
    why: `no answer within ${milliseconds / 1000} s`,
    hint: slow.hint,
    retryable: true,
  });
}
