import { existsSync } from 'node:fs';
import type { RequestOptions } from 'node:https';
import { isDeepStrictEqual } from 'node:util';
import { KubeConfig } from '@kubernetes/client-node';
import { type Dispatcher, request as httpRequest } from 'undici';
import { abortError, asError, isSnapshotError, SnapshotError, systemCode } from '../errors.ts';
import { fromAnswer, fromConnection, timedOut } from './api-errors.ts';
import { describeRequest, type KubeRequest } from './api-request.ts';
import { openPool, type TlsMaterial } from './connection-pool.ts';
import { readKubeconfig } from './kubeconfig-files.ts';

const DEFAULT_TIMEOUT_MS = 10_000;
const IN_CLUSTER_TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount/token';

/** One API server, over one pool of connections. Disposing it ends the connections and the calls on them. */
export interface KubeClient extends AsyncDisposable {
  /** URL of the API server. */
  readonly server: string;
  /**
   * The answer's JSON as it came: `T` is what the caller expects, not what was checked.
   * @throws SnapshotError `not-found` | `exists` | `conflict` | `unauthenticated` | `forbidden` | `unavailable` |
   *   `timeout` | `tls` | `protocol` | `aborted`
   */
  request<T>(request: KubeRequest): Promise<T>;
}

export interface ConnectOptions {
  /** Longest time for a call that sets none itself; 10 s unless given. */
  readonly timeoutMs?: number;
}

/**
 * Reads the kubeconfig, or without one the ServiceAccount of this pod; no connection is made yet.
 * Credentials are read anew for each call, so that rotated tokens and certificates are taken up.
 * @throws SnapshotError `not-found` | `forbidden` | `io` | `usage` when there is no usable configuration
 */
export async function connect(
  kubeconfigPath: string | undefined,
  options: ConnectOptions = {},
): Promise<KubeClient> {
  const config = loadConfig(kubeconfigPath);
  const server = serverOf(config, kubeconfigPath);
  const defaultTimeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  let pool: { readonly tls: TlsMaterial; readonly dispatcher: Dispatcher } | undefined;
  const retired: Dispatcher[] = [];

  const poolFor = (tls: TlsMaterial): Dispatcher => {
    if (pool !== undefined && isDeepStrictEqual(pool.tls, tls)) return pool.dispatcher;
    if (pool !== undefined) retired.push(pool.dispatcher);
    pool = { tls, dispatcher: openPool(tls, config.getCurrentCluster()?.proxyUrl) };
    return pool.dispatcher;
  };

  const exchange = async (
    request: KubeRequest,
    signal: AbortSignal,
  ): Promise<{ statusCode: number; text: string }> => {
    const { headers, tls } = await credentials(config);
    signal.throwIfAborted();
    const { statusCode, body } = await httpRequest(urlOf(server, request), {
      dispatcher: poolFor(tls),
      method: request.method,
      headers: { ...headers, ...contentHeaders(request) },
      body: request.body === undefined ? null : JSON.stringify(request.body),
      signal,
    });
    return { statusCode, text: await body.text() };
  };

  return {
    server,
    async request<T>(request: KubeRequest): Promise<T> {
      const timeoutMs = request.timeoutMs ?? defaultTimeoutMs;
      const deadline = AbortSignal.timeout(timeoutMs);
      const signal = AbortSignal.any([request.signal, deadline]);
      try {
        signal.throwIfAborted();
        const { statusCode, text } = await untilAborted(exchange(request, signal), signal);
        if (statusCode >= 300) throw fromAnswer(request, statusCode, text);
        return parseJson<T>(request, server, text);
      } catch (error) {
        if (request.signal.aborted) throw abortError(request.signal);
        if (isSnapshotError(error)) throw error;
        if (deadline.aborted) throw timedOut(request, server, timeoutMs);
        throw fromConnection(request, server, asError(error));
      }
    },
    async [Symbol.asyncDispose]() {
      const open = pool === undefined ? retired : [...retired, pool.dispatcher];
      await Promise.all(open.map((dispatcher) => dispatcher.destroy()));
    },
  };
}

function loadConfig(path: string | undefined): KubeConfig {
  if (path !== undefined) {
    try {
      return readKubeconfig(path);
    } catch (error) {
      throw unreadable(path, asError(error));
    }
  }
  if (process.env['KUBERNETES_SERVICE_HOST'] === undefined || !existsSync(IN_CLUSTER_TOKEN)) {
    throw new SnapshotError('not-found', 'No Kubernetes cluster is configured', {
      why: 'there is no kubeconfig, and this is not a pod with a ServiceAccount',
      hint: 'Name a kubeconfig with --kubeconfig.',
    });
  }
  const config = new KubeConfig();
  config.loadFromCluster();
  return config;
}

function unreadable(path: string, error: Error): SnapshotError {
  const what = `Cannot read the kubeconfig ${path}`;
  switch (systemCode(error)) {
    case undefined:
      return new SnapshotError('usage', what, {
        why: 'it is not a kubeconfig',
        hint: 'Check the file with kubectl config view --kubeconfig.',
        cause: error,
      });
    case 'ENOENT':
      return new SnapshotError('not-found', what, {
        why: 'there is no such file',
        hint: 'Name another one with --kubeconfig.',
        cause: error,
      });
    case 'EACCES':
      return new SnapshotError('forbidden', what, { hint: 'Run as a user who may read it.', cause: error });
    default:
      return new SnapshotError('io', what, { hint: 'Check the path given to --kubeconfig.', cause: error });
  }
}

function serverOf(config: KubeConfig, path: string | undefined): string {
  const cluster = config.getCurrentCluster();
  const wrong = (why: string) =>
    new SnapshotError('usage', `The kubeconfig ${path ?? 'of this pod'} cannot be used`, {
      why,
      hint: 'Check current-context and its cluster with kubectl config view --minify.',
    });
  if (cluster === null) throw wrong('its current context names no cluster');
  if (!URL.canParse(cluster.server)) throw wrong('the server of its cluster is not a URL');
  if (new URL(cluster.server).protocol !== 'https:' && !cluster.skipTLSVerify) {
    throw wrong('the server of its cluster is not https, and insecure-skip-tls-verify is not set');
  }
  return cluster.server.replace(/\/+$/, '');
}

/** Runs credential plugins and reads token and certificate files where the kubeconfig says so. */
async function credentials(
  config: KubeConfig,
): Promise<{ headers: Record<string, string>; tls: TlsMaterial }> {
  const options: RequestOptions = { headers: {} };
  try {
    await config.applyToHTTPSOptions(options);
  } catch (error) {
    throw new SnapshotError('unauthenticated', 'The credentials of the kubeconfig cannot be had', {
      why: `a file or a credential plugin that it names failed (${systemCode(error) ?? 'no code'})`,
      hint: 'Run kubectl get --raw /version with the same kubeconfig to see its complaint.',
      cause: error,
    });
  }
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.headers ?? {})) headers[name] = String(value).trim();
  if (typeof options.auth === 'string') {
    headers['authorization'] = `Basic ${Buffer.from(options.auth).toString('base64')}`;
  }
  const { ca, cert, key, passphrase, pfx, rejectUnauthorized, servername } = options;
  return { headers, tls: { ca, cert, key, passphrase, pfx, rejectUnauthorized, servername } };
}

/**
 * Neither a credential plugin that hangs nor a connection that never gets ready may hold the call: undici lets a
 * call that waits for its connection end only with the connection, whatever its signal says.
 */
async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

function urlOf(server: string, request: KubeRequest): URL {
  const url = new URL(server + request.path);
  for (const [name, value] of Object.entries(request.query ?? {})) {
    if (value !== '') url.searchParams.set(name, value);
  }
  return url;
}

function contentHeaders(request: KubeRequest): Record<string, string> {
  const common = { accept: 'application/json', 'user-agent': 'etcd-snapshot-operator' };
  return request.body === undefined
    ? common
    : { ...common, 'content-type': request.contentType ?? 'application/json' };
}

function parseJson<T>(request: KubeRequest, server: string, text: string): T {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SnapshotError('protocol', `Cannot ${describeRequest(request).text} in Kubernetes`, {
      why: `what ${server} answered is not JSON`,
      hint: 'Check the server address in the kubeconfig: something else than an API server answers there.',
      cause: error,
    });
  }
}
