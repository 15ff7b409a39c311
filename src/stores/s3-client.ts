import { setTimeout as pause } from 'node:timers/promises';
import type { S3Client } from '@aws-sdk/client-s3';
import pRetry from 'p-retry';
import type { S3Settings } from '../config/types.ts';
import { abortError, isSnapshotError, orAborted, SnapshotError } from '../errors.ts';
import type { Clock } from '../snapshot/ports.ts';
import { fromS3Error } from './s3-errors.ts';
import { askedToWait, readFailure, refusesKeys } from './s3-failure.ts';
import { type Timed, timedBy } from './s3-operation-clock.ts';
import { openRoute, openSession, type S3Session } from './s3-session.ts';

/** Keys that were found and are refused may have been replaced: they are fetched anew, but not over and over. */
const RENEW_AGAIN_MS = 60_000;

export interface S3Tuning {
  /** How often a call is tried, the first time included. Default 5. */
  readonly maxAttempts?: number;
  /** Milliseconds before the first retry; doubled, with jitter, up to 5 s. Default 200. */
  readonly firstRetryMs?: number;
  /** Milliseconds without a byte on a connection that is in use, instead of the settings' own. */
  readonly stallMs?: number;
  /** Instead of that of the process. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Told what the settings came to: route, certificates, keys. */
  readonly onDebug?: (facts: Record<string, unknown>, message: string) => void;
  /** Asked right before each request is sent, the repeated ones too; throws when it must not be. */
  readonly mayCall?: () => void;
}

export interface S3CallOptions {
  readonly abortSignal: AbortSignal;
}

/** A bucket at an endpoint. */
export interface S3Connection extends Timed {
  readonly settings: S3Settings;
  readonly clock: Clock;
  /**
   * Makes a call, again and again while the failure is one that may pass, and ends at once when the signal fires. A bucket
   * that turns out to lie in another region is followed there, and keys that were found and are refused are renewed, once.
   * @param operation S3's name of it · @param doing what could not be done when it fails
   * @throws SnapshotError
   */
  call<T>(
    operation: string,
    doing: string,
    signal: AbortSignal,
    make: (client: S3Client, options: S3CallOptions, attempt: number) => Promise<T>,
  ): Promise<T>;
  /** What a failure outside of `call` means: of a body that is read later, for one. */
  translate(error: unknown, operation: string, doing: string): SnapshotError;
  /** The region of the bucket, as far as it has shown. */
  region(): string;
  /** Ends all connections, those that wait for another call included. */
  close(): void;
}

/** @throws SnapshotError `usage` | `io` when the CA bundle or the proxy of the settings is wrong */
export function connectS3(settings: S3Settings, clock: Clock, tuning: S3Tuning): S3Connection {
  const env = tuning.env ?? process.env;
  const route = openRoute(settings, tuning.stallMs ?? settings.stallMs, env);
  const { endpoint, bucket, insecure } = settings;
  const { proxy, authorities } = route;
  tuning.onDebug?.(
    {
      endpoint,
      proxy: proxy ?? 'none',
      authorities: ['those of Node and of this machine', ...authorities],
      keys: settings.keys === undefined ? 'of the AWS SDK' : 'given',
    },
    'S3 settings.',
  );
  let session = openSession(settings, route, settings.region, env, tuning.mayCall);
  const regions = new Set([settings.region]);
  let renewedAt = Number.NEGATIVE_INFINITY;

  const renew = (used: S3Session, error: unknown): boolean => {
    // Another call has met the same and done it already.
    if (session !== used) return true;
    const failure = readFailure(error);
    if (failure.region !== undefined && !regions.has(failure.region)) {
      regions.add(failure.region);
      session = openSession(settings, route, failure.region, env, tuning.mayCall);
      return true;
    }
    const now = clock.now().getTime();
    if (!refusesKeys(failure) || settings.keys !== undefined) return false;
    if (now - renewedAt < RENEW_AGAIN_MS) return false;
    renewedAt = now;
    session = openSession(settings, route, used.region, env, tuning.mayCall);
    return true;
  };
  const translate: S3Connection['translate'] = (error, operation, doing) =>
    fromS3Error(error, {
      doing,
      operation,
      endpoint,
      bucket,
      region: session.region,
      insecure,
      proxy,
      authorities,
      now: clock.now(),
    });
  return {
    settings,
    clock,
    translate,
    async call(operation, doing, signal, make) {
      let last: SnapshotError | undefined;
      let waitMs = 0;
      const once = async (attempt: number) => {
        const used = session;
        try {
          return await orAborted(make(used.client, { abortSignal: signal }, attempt), signal);
        } catch (error) {
          if (signal.aborted || !renew(used, error)) throw error;
          return await orAborted(make(session.client, { abortSignal: signal }, attempt), signal);
        }
      };
      try {
        return await pRetry(
          async (attempt) => {
            try {
              return await once(attempt);
            } catch (error) {
              if (signal.aborted) throw abortError(signal);
              last = translate(error, operation, doing);
              waitMs = askedToWait(readFailure(error));
              throw last;
            }
          },
          {
            retries: (tuning.maxAttempts ?? 5) - 1,
            minTimeout: tuning.firstRetryMs ?? 200,
            maxTimeout: 5_000,
            randomize: true,
            signal,
            // Beside our own pauses: who asks for time gets it.
            onFailedAttempt: async ({ retriesLeft }) => {
              if (retriesLeft > 0 && waitMs > 0 && last?.retryable === true)
                await pause(waitMs, undefined, { signal });
            },
            // The SDK takes the server's time from a refusal because of the clock: the second try may pass.
            shouldRetry: ({ error, attemptNumber }) =>
              isSnapshotError(error) &&
              (error.retryable || (error.code === 'clock-skew' && attemptNumber === 1)),
          },
        );
      } catch (error) {
        throw signal.aborted ? withLastTry(abortError(signal), last) : error;
      }
    },
    ...timedBy(settings),
    region: () => session.region,
    close: () => route.handler.destroy(),
  };
}

/** That the time is up is not the cause when every try within it has failed. */
function withLastTry(ended: SnapshotError, last: SnapshotError | undefined): SnapshotError {
  if (last === undefined || !isSnapshotError(ended, 'timeout')) return ended;
  return new SnapshotError('timeout', ended.message, {
    why: `${ended.why ?? ''}, and the last try failed: ${last.why ?? last.message}`,
    ...(last.hint === undefined ? {} : { hint: last.hint }),
    retryable: ended.retryable,
    cause: last,
  });
}
