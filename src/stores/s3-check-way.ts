import { lookup } from 'node:dns/promises';
import { type ClientRequest, Agent as HttpAgent, request as plainRequest } from 'node:http';
import { Agent as HttpsAgent, request as secureRequest } from 'node:https';
import { connect, isIP } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { S3Settings } from '../config/types.ts';
import { asError, isSnapshotError, orAborted, SnapshotError, systemCode } from '../errors.ts';
import { addressOf, hostOf, type S3Host } from './s3-address.ts';
import { CheckFailure, type CheckSteps, type Seen } from './s3-check-steps.ts';
import { describeCertificate, type Presented, presentedBy } from './s3-check-tls.ts';
import type { S3Connection } from './s3-client.ts';
import { proxyFor } from './s3-proxy.ts';
import { trustedAuthorities } from './s3-trust.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** Longest wait for each step on the way. */
const STEP_MS = 10_000;
/** S3 refuses requests that are further off than that. */
const REFUSED_AFTER_S = 900;
const WORTH_TELLING_S = 60;

interface Greeting {
  /** What the server showed of itself; undefined: plain http, or it never came to that. */
  readonly presented: Presented | undefined;
  readonly error: Error | undefined;
  readonly status: number | undefined;
  /** By how many seconds this node is ahead; undefined: the server gives no date. */
  readonly ahead: number | undefined;
}

/** The way to the server, without keys: names, connections, proxy, certificates, clocks. @returns whether it is open */
export async function checkWay(
  s3: S3Connection,
  env: Environment,
  steps: CheckSteps,
  signal: AbortSignal,
): Promise<boolean> {
  const { settings } = s3;
  const target = hostOf(settings);
  const proxy = proxyFor(settings.proxy, target, env);
  const hop = proxy === undefined ? target : hostOfProxy(proxy);
  if ((await steps.try('dns', () => resolveName(s3, hop.host, proxy === undefined, signal))) === undefined)
    return false;
  if ((await steps.try('tcp', () => connectTo(s3, hop, signal))) === undefined) return false;
  const greeting = await greet(settings, target, proxy, s3.clock, signal);
  const shown = `${target.host}:${target.port}`;
  if (proxy !== undefined) {
    const passed = await steps.try('proxy', async () => {
      const { error, status } = greeting;
      const ofProxy = error !== undefined && systemCode(error) === 'ERR_PROXY_TUNNEL';
      if (ofProxy || status === 407) throw s3.translate(error ?? new ProxyRefusal(), 'connect', shown);
      return { says: `the proxy ${hop.host}:${hop.port} passes on to ${shown}` };
    });
    if (passed === undefined) return false;
  }
  if (target.secure) {
    const passed = await steps.try('tls', () => judgeCertificate(s3, greeting));
    if (passed === undefined) return false;
  }
  const onTime = await steps.try('clock', () => compareClocks(s3, greeting));
  // A clock that is wrong does not keep the rest from being looked at.
  return onTime !== undefined || greeting.ahead !== undefined;
}

class ProxyRefusal extends Error {
  readonly $response = { statusCode: 407 };
}

function hostOfProxy(url: URL): S3Host {
  const secure = url.protocol === 'https:';
  const port = url.port === '' ? (secure ? 443 : 80) : Number(url.port);
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port, secure };
}

async function resolveName(
  s3: S3Connection,
  host: string,
  straight: boolean,
  signal: AbortSignal,
): Promise<Seen> {
  if (isIP(host) !== 0) return { says: `${host} is an address, there is no name to resolve` };
  const find = async (name: string) =>
    orAborted(lookup(name, { all: true }), AbortSignal.any([signal, AbortSignal.timeout(STEP_MS)]));
  try {
    const found = await find(host);
    return { says: `${host} is ${found.map(({ address }) => address).join(', ')}` };
  } catch (error) {
    const { url, pathStyle } = addressOf(s3.settings, s3.settings.region);
    const without = straight && !pathStyle && isIP(url.hostname) === 0 && !signal.aborted;
    if (without && (await find(url.hostname).then(Boolean, () => false))) {
      throw new CheckFailure(
        {
          says: `the name ${host} cannot be resolved, but ${url.hostname} can`,
          cause: 'path-style',
          cure: 'Use --s3-bucket-lookup-type=path, or make a DNS entry for the buckets of this server.',
        },
        error,
      );
    }
    throw timely(s3, error, host);
  }
}

/** A time limit of ours is a timeout; all else is what the system says. */
function timely(s3: S3Connection, error: unknown, host: string): SnapshotError {
  if (systemCode(error) !== undefined) return s3.translate(error, 'connect', host);
  return new SnapshotError('timeout', host, {
    why: `${host} gave no answer within ${STEP_MS / 1000} s`,
    hint: 'Check --s3-endpoint, --s3-proxy, the DNS of this node, and firewalls between.',
    retryable: true,
    cause: error,
  });
}

async function connectTo(s3: S3Connection, { host, port }: S3Host, signal: AbortSignal): Promise<Seen> {
  const socket = connect({ host, port });
  try {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    socket.once('connect', resolve).once('error', reject);
    await orAborted(promise, AbortSignal.any([signal, AbortSignal.timeout(STEP_MS)]));
    return { says: `${host}:${port} takes connections` };
  } catch (error) {
    throw timely(s3, rootOf(error), host);
  } finally {
    socket.on('error', () => undefined).destroy();
  }
}

/** Where a name has several addresses, Node reports all that failed in one error: the first stands for them. */
function rootOf(error: unknown): unknown {
  return error instanceof AggregateError ? error.errors[0] : error;
}

/**
 * Asks for the bucket without keys, whatever the certificate is like: nothing is sent that is worth hiding, and nothing is
 * believed but date and certificate.
 */
async function greet(
  settings: S3Settings,
  target: S3Host,
  proxy: URL | undefined,
  clock: S3Connection['clock'],
  signal: AbortSignal,
): Promise<Greeting> {
  const { pathStyle } = addressOf(settings, settings.region);
  const shared = {
    keepAlive: false,
    ...(proxy === undefined ? {} : { proxyEnv: { HTTP_PROXY: proxy.href, HTTPS_PROXY: proxy.href } }),
  };
  // Where nothing is checked, no CA has to be readable either.
  const checked = target.secure && !settings.skipSSLVerify;
  const authorities = checked ? trustedAuthorities(settings.endpointCA) : undefined;
  const options = {
    host: target.host,
    port: target.port,
    method: 'HEAD',
    path: pathStyle ? `/${settings.bucket}` : '/',
    signal: AbortSignal.any([signal, AbortSignal.timeout(STEP_MS)]),
  };
  const request: ClientRequest = target.secure
    ? secureRequest({
        ...options,
        agent: new HttpsAgent(shared),
        rejectUnauthorized: false,
        ...(authorities === undefined ? {} : { ca: [...authorities.ca] }),
      })
    : plainRequest({ ...options, agent: new HttpAgent(shared) });
  let presented: Presented | undefined;
  request.once('socket', (socket) => {
    if (!(socket instanceof TLSSocket)) return;
    const look = () => {
      presented = presentedBy(socket);
    };
    // Behind a proxy the handshake is over by now. Not later: a server without HTTP has shown its certificate all the same.
    if (socket.getPeerX509Certificate() === undefined) socket.once('secureConnect', look);
    else look();
  });
  const { promise, resolve, reject } = Promise.withResolvers<Omit<Greeting, 'presented' | 'error'>>();
  request.once('error', reject).once('response', (response) => {
    const date = Date.parse(response.headers.date ?? '');
    // The header has whole seconds, cut off.
    const ahead = Number.isNaN(date) ? undefined : Math.round((clock.now().getTime() - date - 500) / 1000);
    resolve({ status: response.statusCode, ahead });
  });
  request.end();
  try {
    const { status, ahead } = await promise;
    return { presented, error: undefined, status, ahead };
  } catch (error) {
    return { presented, error: asError(rootOf(error)), status: undefined, ahead: undefined };
  } finally {
    request.on('error', () => undefined).destroy();
  }
}

async function judgeCertificate(s3: S3Connection, { presented, error }: Greeting): Promise<Seen> {
  const { settings } = s3;
  const doing = `Cannot trust ${settings.endpoint}`;
  if (presented === undefined) throw timely(s3, error ?? new Error('no certificate'), settings.endpoint);
  const { chain, problem, validUntil } = presented;
  const shown = describeCertificate(chain);
  if (settings.skipSSLVerify) {
    return {
      says: `not verified; the server shows ${shown}`,
      chain,
      cause: 'tls',
      cure: 'Name its CA with --s3-endpoint-ca instead of --s3-skip-ssl-verify: anybody on the way could read the snapshots.',
    };
  }
  if (problem !== undefined) {
    const refused = s3.translate(Object.assign(new Error(problem), { code: problem }), 'connect', doing);
    const { why = problem, hint } = refused;
    const cure = hint === undefined ? {} : { cure: hint };
    throw new CheckFailure({ says: `${why}; it is ${shown}`, cause: 'tls', chain, ...cure }, refused);
  }
  const daysLeft = Math.floor((validUntil.getTime() - s3.clock.now().getTime()) / 86_400_000);
  if (daysLeft < 14) {
    return {
      says: `the certificate is good for ${daysLeft} more days; it is ${shown}`,
      chain,
      cause: 'tls',
      cure: 'Renew the certificate of the server.',
    };
  }
  return { says: shown, chain };
}

async function compareClocks(s3: S3Connection, { error, ahead }: Greeting): Promise<Seen> {
  const { endpoint } = s3.settings;
  if (error !== undefined) throw isSnapshotError(error) ? error : timely(s3, error, endpoint);
  if (ahead === undefined) return { says: `${endpoint} does not say what time it is` };
  const off = Math.abs(ahead);
  const says = `the clock of this node is ${off} s ${ahead < 0 ? 'behind' : 'ahead of'} that of ${endpoint}`;
  const cure = 'Set the clock of this node right (NTP): S3 refuses requests that are 900 s off.';
  if (off >= REFUSED_AFTER_S) throw new CheckFailure({ says, cause: 'clock', cure, seconds: ahead });
  return { says, seconds: ahead, ...(off > WORTH_TELLING_S ? { cause: 'clock' as const, cure } : {}) };
}
