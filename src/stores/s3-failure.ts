import { asError, isSnapshotError, systemCode } from '../errors.ts';

const LONGEST_WAIT_MS = 30_000;

/** What the SDK's errors tell, read by field. */
export interface Failure {
  readonly name: string;
  readonly status: number | undefined;
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** The SDK found the server's clock far from ours, and goes by that from now on. */
  readonly skewCorrected: boolean;
  /** Region that the server names in an error about regions. */
  readonly region: string | undefined;
  /** With what a proxy answered CONNECT. */
  readonly tunnelStatus: number | undefined;
}

/** S3's own name of an error, for the few that are an answer and not a failure. */
export function isS3Error(error: unknown, ...names: readonly string[]): boolean {
  const cause = isSnapshotError(error) ? error.cause : error;
  return cause instanceof Error && names.includes(cause.name);
}

/** Whether the server took the request for a bad one. To HEAD it cannot say more. */
export function isBadRequest(error: unknown): boolean {
  return field(asError(error).cause, 'status') === 400;
}

/** Whether the server meant well, and only its answer cannot be read. */
export function isGoodStatus(error: unknown): boolean {
  const { status } = readFailure(error);
  return status !== undefined && status >= 200 && status < 300;
}

/** Whether the keys are what the server does not like: then newer ones may do. */
export function refusesKeys({ name, status }: Failure): boolean {
  if (name === 'RequestTimeTooSkewed') return false;
  return status === 401 || status === 403 || /^(?:Expired|Invalid)Token|^TokenRefreshRequired$/.test(name);
}

/** Milliseconds that the server wants to be left alone (`Retry-After` in seconds), half a minute at most. */
export function askedToWait({ headers }: Failure): number {
  const seconds = /^\d{1,9}$/.exec(headers['retry-after'] ?? '')?.[0];
  return Math.min(Number(seconds ?? 0) * 1000, LONGEST_WAIT_MS);
}

/** Reads what the SDK's error tells. */
export function readFailure(error: unknown): Failure {
  const metadata = field(error, '$metadata');
  const response = field(error, '$response');
  const status = field(metadata, 'httpStatusCode') ?? field(response, 'statusCode');
  const headers = Object.entries(asRecord(field(response, 'headers')) ?? {}).flatMap(([name, value]) =>
    typeof value === 'string' ? [[name.toLowerCase(), value] as const] : [],
  );
  const byName = Object.fromEntries(headers);
  const tunnelStatus = field(error, 'statusCode');
  const region = field(error, 'Region') ?? byName['x-amz-bucket-region'];
  return {
    name: asError(error).name,
    status: typeof status === 'number' ? status : undefined,
    headers: byName,
    skewCorrected: field(metadata, 'clockSkewCorrected') === true,
    region: typeof region === 'string' ? region : undefined,
    tunnelStatus: typeof tunnelStatus === 'number' ? tunnelStatus : undefined,
  };
}

/** The SDK's errors drag the whole response along, and with it the signed request: a dump of them would show it. */
export function withoutRequest(error: unknown, failure: Failure): Error {
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

function asRecord(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null ? { ...value } : undefined;
}

function field(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined;
  return (value as Record<string, unknown>)[name];
}
