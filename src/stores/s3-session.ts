import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { Readable } from 'node:stream';
import { createSecureContext } from 'node:tls';
import { S3Client } from '@aws-sdk/client-s3';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import type { S3Settings } from '../config/types.ts';
import { addressOf, hostOf } from './s3-address.ts';
import { credentialsOf } from './s3-credentials.ts';
import { proxyFor, shownProxy } from './s3-proxy.ts';
import { trustedAuthorities, trustMachine } from './s3-trust.ts';

/** Bytes per write. */
const SLICE = 256 * 1024;

type Environment = Readonly<Record<string, string | undefined>>;

/** A client of the SDK, with one set of keys for one region. */
export interface S3Session {
  readonly client: S3Client;
  readonly region: string;
}

/** What all sessions of one endpoint share: connections, and what is known of them. */
export interface S3Route {
  readonly handler: NodeHttpHandler;
  /** `host:port`; undefined: straight. */
  readonly proxy: string | undefined;
  /** A line for each CA that was loaded beside those of Node and of this machine. */
  readonly authorities: readonly string[];
}

/** @throws SnapshotError `usage` | `io` when the CA bundle or the proxy is wrong */
export function openRoute(settings: S3Settings, stallMs: number, env: Environment): S3Route {
  const proxy = proxyFor(settings.proxy, hostOf(settings), env);
  const shared = {
    keepAlive: true,
    ...(proxy === undefined ? {} : { proxyEnv: { HTTP_PROXY: proxy.href, HTTPS_PROXY: proxy.href } }),
  };
  const checked = !settings.insecure && !settings.skipSSLVerify;
  // Whoever finds keys asks over TLS too, wherever S3 is.
  if (checked || settings.keys === undefined) trustMachine();
  const authorities = checked ? trustedAuthorities(settings.endpointCA) : undefined;
  return {
    proxy: proxy === undefined ? undefined : shownProxy(proxy),
    authorities: authorities?.loaded ?? [],
    handler: new NodeHttpHandler({
      connectionTimeout: Math.min(10_000, stallMs),
      socketTimeout: stallMs,
      httpAgent: new HttpAgent(shared),
      httpsAgent: new HttpsAgent({
        ...shared,
        rejectUnauthorized: !settings.skipSSLVerify,
        // Made once: parsing some 150 roots anew for each connection would cost more than the handshake.
        ...(authorities === undefined
          ? {}
          : { secureContext: createSecureContext({ ca: [...authorities.ca] }) }),
      }),
    }),
  };
}

/**
 * Retries are ours (`maxAttempts: 1`): the SDK sleeps between its own without looking at the signal.
 * No `Expect: 100-continue`: not every S3 compatible knows it.
 */
export function openSession(
  settings: S3Settings,
  route: S3Route,
  region: string,
  env: Environment,
  mayCall?: () => void,
): S3Session {
  const { url, pathStyle } = addressOf(settings, region);
  const checksums = settings.checksums === 'when-supported' ? 'WHEN_SUPPORTED' : 'WHEN_REQUIRED';
  const client = new S3Client({
    endpoint: url.href,
    region,
    forcePathStyle: pathStyle,
    // What a shared config file says about endpoints is not about this one.
    useFipsEndpoint: false,
    useDualstackEndpoint: false,
    credentials: credentialsOf(settings, env),
    requestChecksumCalculation: checksums,
    responseChecksumValidation: checksums,
    expectContinueHeader: false,
    maxAttempts: 1,
    requestHandler: route.handler,
  });
  if (!settings.insecure) sendInSlices(client);
  if (mayCall !== undefined) askBeforeSending(client, mayCall);
  return { client, region };
}

/** After all that takes time, such as keys that have to be found first: whoever was frozen meanwhile must not go on. */
function askBeforeSending(client: S3Client, mayCall: () => void): void {
  client.middlewareStack.add(
    (next) => (args) => {
      mayCall();
      return next(args);
    },
    { step: 'deserialize', priority: 'low', name: 'askBeforeSending' },
  );
}

/**
 * A part written in one go shows no sign of life until all of it is through TLS, so a slow line would pass for a dead one;
 * without TLS the kernel's queue shows it. It also spares TLS a second copy of the whole part.
 * This comes after signing: to the SDK the body is one buffer.
 */
function sendInSlices(client: S3Client): void {
  client.middlewareStack.add(
    (next) => (args) => {
      const { request } = args;
      if (!hasBody(request) || !Buffer.isBuffer(request.body) || request.body.length <= SLICE)
        return next(args);
      request.body = Readable.from(slicesOf(request.body));
      return next(args);
    },
    { step: 'deserialize', priority: 'low', name: 'sendInSlices' },
  );
}

function* slicesOf(body: Buffer): Generator<Buffer> {
  for (let at = 0; at < body.length; at += SLICE) yield body.subarray(at, at + SLICE);
}

function hasBody(request: unknown): request is { body: unknown } {
  return typeof request === 'object' && request !== null && 'body' in request;
}
