/**
 * What went wrong, as a stable word that programs may act on. Texts may change; codes do not.
 *
 * - `usage` the command line or a setting is wrong · `aborted` a signal or a caller ended the work
 * - `busy` somebody else is doing the same · `learner` the member may not serve snapshots
 * - `corrupt` bytes are not what they claim to be · `exists` the final name is taken · `not-found`
 * - `disk-full`, `read-only`, `io` the local disk · `tls` certificates and handshakes
 * - `unauthenticated`, `forbidden` credentials and rights · `clock-skew`
 * - `unavailable` nobody answers, or says "later" · `timeout` no answer in the time allowed
 * - `foreign` what carries the name is not ours to touch · `held` somebody has asked to keep it
 * - `locked` the store keeps it until a time, or until a hold of its own is lifted
 * - `conflict` somebody changed the same thing first · `protocol` the peer does not speak what it should
 */
export type ErrorCode =
  | 'usage'
  | 'aborted'
  | 'busy'
  | 'learner'
  | 'corrupt'
  | 'exists'
  | 'not-found'
  | 'disk-full'
  | 'read-only'
  | 'io'
  | 'tls'
  | 'unauthenticated'
  | 'forbidden'
  | 'clock-skew'
  | 'unavailable'
  | 'timeout'
  | 'conflict'
  | 'foreign'
  | 'held'
  | 'locked'
  | 'protocol';

export interface SnapshotErrorOptions {
  /** Why it happened: one sentence, facts only. Left out, the cause's own message stands in. */
  readonly why?: string;
  /** What the reader can do about it: one sentence in the imperative. */
  readonly hint?: string;
  /** Whether the same call may succeed later without anybody changing anything. */
  readonly retryable?: boolean;
  readonly cause?: unknown;
  /** What else did not work, without being the cause: each is worth telling. */
  readonly besides?: readonly Error[];
}

/** The only error that crosses a folder border. Adapters translate foreign errors into it where they meet them. */
export class SnapshotError extends Error {
  override readonly name = 'SnapshotError';
  readonly code: ErrorCode;
  readonly why: string | undefined;
  readonly hint: string | undefined;
  readonly retryable: boolean;
  readonly besides: readonly Error[];

  /** @param what what could not be done: one line, naming the thing (path, endpoint, field) and no secret. */
  constructor(code: ErrorCode, what: string, options: SnapshotErrorOptions = {}) {
    super(what, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.why = options.why ?? (options.cause instanceof Error ? options.cause.message : undefined);
    this.hint = options.hint;
    this.retryable = options.retryable ?? false;
    this.besides = options.besides ?? [];
  }
}

export function isSnapshotError(error: unknown, ...codes: readonly ErrorCode[]): error is SnapshotError {
  return error instanceof SnapshotError && (codes.length === 0 || codes.includes(error.code));
}

/** The same error, with what else did not work. */
export function withBesides(error: Error, besides: readonly Error[]): Error {
  if (besides.length === 0) return error;
  if (!isSnapshotError(error)) return new SnapshotError('io', error.message, { cause: error, besides });
  const { code, message, why, hint, retryable } = error;
  return new SnapshotError(code, message, {
    ...(why === undefined ? {} : { why }),
    ...(hint === undefined ? {} : { hint }),
    retryable,
    cause: error,
    besides: [...error.besides, ...besides],
  });
}

/** `code` of a Node system error (`ENOENT`, `ECONNREFUSED`, `CERT_HAS_EXPIRED`, …), or undefined. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** Codes of OpenSSL that all mean: the certificate leads to no CA that is trusted here. */
const UNKNOWN_CA_CODES: readonly string[] = [
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'CERT_SIGNATURE_FAILURE',
];

/** The same entry under each code that means an unknown CA, to be spread into a table by `systemCode`. */
export function unknownCaCodes<T>(entry: T): Readonly<Record<string, T>> {
  return Object.fromEntries(UNKNOWN_CA_CODES.map((code) => [code, entry]));
}

/** What was thrown, as an Error: for the places where the language only promises `unknown`. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

/** The reason of an aborted signal in our own terms. */
export function abortError(signal: AbortSignal): SnapshotError {
  if (isSnapshotError(signal.reason)) return signal.reason;
  return new SnapshotError('aborted', 'Interrupted', { cause: signal.reason });
}

/** The outcome of a promise that knows nothing of signals, or the end of waiting for it. */
export async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(abortError(signal));
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
