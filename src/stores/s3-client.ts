import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { createSecureContext } from 'node:tls';
import { S3Client } from '@aws-sdk/client-s3';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import pRetry from 'p-retry';
import type { S3Settings } from '../config/types.ts';
import { abortError, isSnapshotError, SnapshotError } from '../errors.ts';
import type { Clock } from '../snapshot/ports.ts';
import { fromS3Error } from './s3-errors.ts';
import { trustedAuthorities } from './s3-trust.ts';

export interface S3Tuning {
  /** How often a call is tried, the first time included. Default 5. */
  readonly maxAttempts?: number;
  /** Milliseconds before the first retry; doubled, with jitter, up to 5 s. Default 200. */
  readonly firstRetryMs?: number;
  /** Milliseconds without a byte on a connection that is in use. Default 30,000. */
  readonly stallMs?: number;
}

export interface S3CallOptions {
  readonly abortSignal: AbortSignal;
}

/** The time of one operation, for work that has to wait for others in between. */
export interface OperationClock {
  /** Allows `settings.timeoutMs` from now on, again at each call; without effect after `begin`. */
  touch(): void;
  /** Stops the time while somebody else is waited for, until `touch`; without effect after `begin`. */
  pause(): void;
  /** Allows `settings.timeoutMs` from now on, for all that is left. The first call counts. */
  begin(): void;
}

/** A bucket at an endpoint. */
export interface S3Connection {
  readonly settings: S3Settings;
  readonly clock: Clock;
  /**
   * Makes a call, again and again while the failure is one that may pass, and ends at once when the signal fires.
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
  /** Runs work that may take `settings.timeoutMs` in all. @throws SnapshotError `timeout` */
  timed<T>(doing: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T>;
  /** The same, for work that winds its own clock: no time runs before it does. */
  timedByClock<T>(
    doing: string,
    signal: AbortSignal,
    work: (signal: AbortSignal, clock: OperationClock) => Promise<T>,
  ): Promise<T>;
  /** Ends all connections, those that wait for another call included. */
  close(): void;
}

/** @throws SnapshotError `usage` | `io` when the CA bundle of the settings is wrong */
export function connectS3(settings: S3Settings, clock: Clock, tuning: S3Tuning): S3Connection {
  const client = createClient(settings, tuning.stallMs ?? 30_000);
  const retries = (tuning.maxAttempts ?? 5) - 1;
  const minTimeout = tuning.firstRetryMs ?? 200;
  const timedByClock: S3Connection['timedByClock'] = async (doing, signal, work) => {
    const deadline = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    let final = false;
    const pause = () => {
      if (!final) clearTimeout(timer);
    };
    const touch = () => {
      if (final) return;
      clearTimeout(timer);
      timer = setTimeout(() => deadline.abort(tookTooLong(doing, settings)), settings.timeoutMs);
    };
    const begin = () => {
      touch();
      final = true;
    };
    try {
      return await work(AbortSignal.any([signal, deadline.signal]), { touch, pause, begin });
    } finally {
      final = true;
      clearTimeout(timer);
    }
  };
  const translate: S3Connection['translate'] = (error, operation, doing) => {
    const { endpoint, bucket, region, insecure } = settings;
    return fromS3Error(error, { doing, operation, endpoint, bucket, region, insecure, now: clock.now() });
  };
  return {
    settings,
    clock,
    translate,
    async call(operation, doing, signal, make) {
      try {
        return await pRetry(
          async (attempt) => {
            try {
              return await make(client, { abortSignal: signal }, attempt);
            } catch (error) {
              if (signal.aborted) throw abortError(signal);
              throw translate(error, operation, doing);
            }
          },
          {
            retries,
            minTimeout,
            maxTimeout: 5_000,
            randomize: true,
            signal,
            // The SDK takes the server's time from a refusal because of the clock: the second try may pass.
            shouldRetry: ({ error, attemptNumber }) =>
              isSnapshotError(error) &&
              (error.retryable || (error.code === 'clock-skew' && attemptNumber === 1)),
          },
        );
      } catch (error) {
        throw signal.aborted ? abortError(signal) : error;
      }
    },
    timedByClock,
    timed: (doing, signal, work) =>
      timedByClock(doing, signal, (inner, time) => {
        time.begin();
        return work(inner);
      }),
    close: () => client.destroy(),
  };
}

function tookTooLong(doing: string, settings: S3Settings): SnapshotError {
  return new SnapshotError('timeout', doing, {
    why: `${settings.endpoint} needed longer than ${settings.timeoutMs / 1000} s`,
    hint: 'Raise --s3-timeout, or check the network.',
    retryable: true,
  });
}

/**
 * Retries are ours (`maxAttempts: 1`): the SDK sleeps between its own without looking at the signal.
 * Checksums only when S3 requires them, and no `Expect: 100-continue`: not every S3 compatible knows either.
 */
function createClient(settings: S3Settings, stallMs: number): S3Client {
  const client = new S3Client({
    endpoint: `${settings.insecure ? 'http' : 'https'}://${settings.endpoint}`,
    region: settings.region,
    forcePathStyle: !wantsVirtualHost(settings.endpoint),
    credentials: {
      accessKeyId: settings.accessKey.reveal(),
      secretAccessKey: settings.secretKey.reveal(),
    },
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    expectContinueHeader: false,
    maxAttempts: 1,
    requestHandler: new NodeHttpHandler({
      connectionTimeout: Math.min(10_000, stallMs),
      socketTimeout: stallMs,
      ...agents(settings),
    }),
  });
  if (!settings.insecure) leavePayloadsUnsigned(client);
  return client;
}

/**
 * The SDK would hash every part with SHA-256, on the main thread, for its signature. Under TLS nobody can forge a byte on
 * the way to whoever ends it, and `Content-MD5` (which is signed) proves that none is damaged behind that, so the hash is
 * CPU time for nothing; over plain http it is the only thing that keeps forgers out, and stays.
 */
function leavePayloadsUnsigned(client: S3Client): void {
  client.middlewareStack.add(
    (next) => (args) => {
      const { request } = args;
      if (hasHeaders(request)) request.headers['x-amz-content-sha256'] = 'UNSIGNED-PAYLOAD';
      return next(args);
    },
    { step: 'build', name: 'unsignedPayload' },
  );
}

function hasHeaders(request: unknown): request is { headers: Record<string, string> } {
  return typeof request === 'object' && request !== null && 'headers' in request;
}

function agents(settings: S3Settings): { httpAgent: HttpAgent } | { httpsAgent: HttpsAgent } {
  const shared = {
    keepAlive: true,
    // Like Go's proxy rules, which k3s follows: never for a server on this machine.
    ...(isLoopback(settings.endpoint) ? {} : { proxyEnv: process.env }),
  };
  if (settings.insecure) return { httpAgent: new HttpAgent(shared) };
  const ca = trustedAuthorities(settings.endpointCA);
  return {
    httpsAgent: new HttpsAgent({
      ...shared,
      rejectUnauthorized: !settings.skipSSLVerify,
      // Made once: parsing some 150 roots anew for each connection would cost more than the handshake.
      ...(ca === undefined ? {} : { secureContext: createSecureContext({ ca: [...ca] }) }),
    }),
  };
}

function hostOf(endpoint: string): string {
  return endpoint.replace(/:\d+$/, '').toLowerCase();
}

function isLoopback(endpoint: string): boolean {
  const host = hostOf(endpoint);
  return host === 'localhost' || host === '[::1]' || /^127(\.\d+){3}$/.test(host);
}

/** Amazon and Alibaba want `bucket.host`; everybody else understands `host/bucket`. */
function wantsVirtualHost(endpoint: string): boolean {
  return /(^|\.)(amazonaws\.com(\.cn)?|aliyuncs\.com)$/.test(hostOf(endpoint));
}
