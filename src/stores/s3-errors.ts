import { isSnapshotError, SnapshotError } from '../errors.ts';
import { readFailure, withoutRequest } from './s3-failure.ts';
import { viaProxy } from './s3-proxy-errors.ts';
import { type S3Call, translationOf } from './s3-translations.ts';

/** What a failed call means for the user. Never carries a secret: only the error's name, message and request id are kept. */
export function fromS3Error(error: unknown, call: S3Call): SnapshotError {
  if (isSnapshotError(error)) return error;
  const failure = readFailure(error);
  const cause = withoutRequest(error, failure);
  const ofProxy = call.proxy === undefined ? undefined : viaProxy(error, failure);
  const found = ofProxy ?? translationOf(error, failure);
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
