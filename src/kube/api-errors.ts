import { type ErrorCode, isSnapshotError, SnapshotError, systemCode, unknownCaCodes } from '../errors.ts';
import { describeRequest, JSON_PATCH, type KubeRequest } from './api-request.ts';

/** What the API server answered instead of the object: the machine-readable part of its `Status`. */
class ApiStatus extends Error {
  override readonly name = 'ApiStatus';
  readonly httpStatus: number;
  /** `NotFound`, `AlreadyExists`, …; empty when a proxy or an unknown path answered without a `Status`. */
  readonly reason: string;
  /** The object that the answer is about; undefined when it is about the whole resource. */
  readonly objectName: string | undefined;

  constructor(httpStatus: number, body: string) {
    const status = parseStatus(body);
    super(status?.message || `HTTP status ${httpStatus} without an explanation`);
    this.httpStatus = httpStatus;
    this.reason = status?.reason ?? '';
    this.objectName = status?.details?.name;
  }
}

/** Whether the API server knows the resource and says that this object of it does not exist. */
export function isObjectMissing(error: unknown): boolean {
  return (
    isSnapshotError(error, 'not-found') &&
    error.cause instanceof ApiStatus &&
    error.cause.objectName !== undefined
  );
}

/** Whether the API server no longer knows the changes since that resourceVersion, or the rest of that listing. */
export function isExpired(error: unknown): boolean {
  return isSnapshotError(error) && error.cause instanceof ApiStatus && error.cause.httpStatus === 410;
}

interface Translation {
  readonly code: ErrorCode;
  readonly hint: string;
  readonly retryable?: boolean;
}

const AWAY: Translation = {
  code: 'unavailable',
  hint: 'Check that the API server runs and that the server address in the kubeconfig is right.',
  retryable: true,
};
const SLOW: Translation = {
  code: 'timeout',
  hint: 'Check that the API server is healthy and that nothing between drops its packets.',
  retryable: true,
};
const UNKNOWN_CA: Translation = {
  code: 'tls',
  hint: "Check certificate-authority in the kubeconfig: it must hold the CA of the API server's certificate.",
};
const CLIENT_REFUSED: Translation = {
  code: 'unauthenticated',
  hint: 'Check client-certificate and client-key in the kubeconfig: they may have expired, or belong to another cluster.',
};
const NOT_TLS: Translation = {
  code: 'tls',
  hint: 'Check the server address in the kubeconfig: its port does not speak TLS as an API server does.',
};

const BY_SYSTEM_CODE: Readonly<Record<string, Translation>> = {
  ...unknownCaCodes(UNKNOWN_CA),
  CERT_HAS_EXPIRED: {
    code: 'tls',
    hint: 'Renew the certificate of the API server, and check the clock here.',
  },
  CERT_NOT_YET_VALID: { code: 'tls', hint: 'Check the clock of this machine and of the API server.' },
  ERR_TLS_CERT_ALTNAME_INVALID: {
    code: 'tls',
    hint: 'Use a server address in the kubeconfig that the certificate contains, or set tls-server-name.',
  },
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: CLIENT_REFUSED,
  ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE: CLIENT_REFUSED,
  'ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE': CLIENT_REFUSED,
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: CLIENT_REFUSED,
  ERR_SSL_WRONG_VERSION_NUMBER: NOT_TLS,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: NOT_TLS,
  EPROTO: NOT_TLS,
  HPE_INVALID_CONSTANT: { code: 'protocol', hint: AWAY.hint },
  LINE_TOO_LONG: { code: 'protocol', hint: AWAY.hint },
  ENOTFOUND: { code: 'unavailable', hint: 'Check the host name of the server in the kubeconfig.' },
  ETIMEDOUT: SLOW,
  UND_ERR_CONNECT_TIMEOUT: SLOW,
  UND_ERR_HEADERS_TIMEOUT: SLOW,
  UND_ERR_BODY_TIMEOUT: SLOW,
};

/** What an answer of 300 and above means. @param body as received; a `Status` object, or anything */
export function fromAnswer(request: KubeRequest, httpStatus: number, body: string): SnapshotError {
  const status = new ApiStatus(httpStatus, body);
  const { code, hint, retryable } = translateAnswer(request, status);
  return new SnapshotError(code, `Cannot ${describeRequest(request).text} in Kubernetes`, {
    why:
      status.reason === '' && httpStatus === 404 ? 'the API server knows no such resource' : status.message,
    hint,
    retryable: retryable ?? false,
    cause: status,
  });
}

/** What a failed socket, handshake or tunnel means. @param server URL of the API server */
export function fromConnection(request: KubeRequest, server: string, error: Error): SnapshotError {
  const code = systemCode(error) ?? '';
  const known = BY_SYSTEM_CODE[code] ?? AWAY;
  const detail = error.message.split('\n', 1)[0] || 'the connection failed';
  return new SnapshotError(known.code, `Cannot ${describeRequest(request).text} in Kubernetes`, {
    why: `${server}: ${detail}${code === '' ? '' : ` (${code})`}`,
    hint: known.hint,
    retryable: known.retryable ?? false,
    cause: error,
  });
}

export function timedOut(request: KubeRequest, server: string, milliseconds: number): SnapshotError {
  return new SnapshotError(SLOW.code, `Cannot ${describeRequest(request).text} in Kubernetes`, {
    why: `${server} did not answer within ${milliseconds / 1000} s`,
    hint: SLOW.hint,
    retryable: true,
  });
}

/** @param milliseconds how long nothing came */
export function fellSilent(request: KubeRequest, server: string, milliseconds: number): SnapshotError {
  return new SnapshotError(SLOW.code, `Cannot ${describeRequest(request).text} in Kubernetes`, {
    why: `${server} sent nothing for ${milliseconds / 1000} s`,
    hint: SLOW.hint,
    retryable: true,
  });
}

function translateAnswer(request: KubeRequest, status: ApiStatus): Translation {
  const { verb, resource } = describeRequest(request);
  const { httpStatus } = status;
  if (httpStatus === 401) {
    // Tokens are renewed by others, and read anew for each call.
    return { code: 'unauthenticated', hint: 'Renew the credentials in the kubeconfig.', retryable: true };
  }
  if (httpStatus === 403) {
    return {
      code: 'forbidden',
      hint: `Give this user or ServiceAccount the right to "${verb}" ${resource} (RBAC: a ClusterRole and its binding).`,
    };
  }
  if (httpStatus === 405 && resource.includes('.')) {
    const hint = `Wait until the CustomResourceDefinition ${resource} is gone, and install it again: kubectl apply -f deploy/crds/.`;
    return { code: 'unavailable', hint, retryable: true };
  }
  if (httpStatus === 404) return { code: 'not-found', hint: hintForMissing(resource, status) };
  if (httpStatus === 409) {
    const code = status.reason === 'AlreadyExists' ? 'exists' : 'conflict';
    return { code, hint: 'Try again with what is there now.', retryable: true };
  }
  if (isUnfitPatch(request, status)) {
    return { code: 'conflict', hint: 'Try again with what is there now.', retryable: true };
  }
  if (httpStatus === 410) return { code: 'conflict', hint: 'List again from the start.', retryable: true };
  if (httpStatus === 504 || httpStatus === 408) return SLOW;
  if (httpStatus === 429 || httpStatus >= 500) {
    return { code: 'unavailable', hint: 'Try again later; see the log of the API server.', retryable: true };
  }
  return {
    code: 'protocol',
    hint: 'Check that server and client fit: the installed CustomResourceDefinition may be of another version.',
  };
}

/** A JSON Patch that does not fit the object as it is: unlike an object that breaks its schema, no object is named. */
function isUnfitPatch(request: KubeRequest, status: ApiStatus): boolean {
  const { httpStatus, objectName } = status;
  return httpStatus === 422 && request.contentType === JSON_PATCH && objectName === undefined;
}

function hintForMissing(resource: string, status: ApiStatus): string {
  if (status.objectName !== undefined) return 'Check the name, and that this is the right cluster.';
  return resource.includes('.')
    ? `Install the CustomResourceDefinition ${resource}: kubectl apply -f deploy/crds/.`
    : 'Check the server address in the kubeconfig: what answers there does not know this resource.';
}

interface StatusBody {
  readonly message?: string;
  readonly reason?: string;
  readonly details?: { readonly name?: string };
}

function parseStatus(body: string): StatusBody | undefined {
  if (!body.startsWith('{')) return undefined;
  try {
    const value: { kind?: unknown } & StatusBody = JSON.parse(body);
    return value.kind === 'Status' ? value : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
