import { isDeepStrictEqual } from 'node:util';
import { type Dispatcher, request as httpRequest } from 'undici';
import { abortError, asError, isSnapshotError, SnapshotError } from '../errors.ts';
import { fellSilent, fromAnswer, fromConnection, timedOut } from './api-errors.ts';
import { describeRequest, type KubeRequest, type WatchRequest } from './api-request.ts';
import { openPools, type Pools, type TlsMaterial } from './connection-pool.ts';
import { loadAccess } from './kubeconfig.ts';
import { linesOf, SilenceTimer } from './watch-lines.ts';

const DEFAULT_TIMEOUT_MS = 10_000;
/** An API server says something about every minute to those who let it send bookmarks. */
const DEFAULT_IDLE_MS = 120_000;
/** Nobody's object comes near: etcd takes 1.5 MiB. */
const MAX_LINE_BYTES = 32 * 1024 * 1024;

/** One API server, over shared connections. Disposing it ends the connections and the calls on them. */
export interface KubeClient extends AsyncDisposable {
  /** URL of the API server. */
  readonly server: string;
  /**
   * The answer's JSON as it came: `T` is what the caller expects, not what was checked.
   * @throws SnapshotError `not-found` | `exists` | `conflict` | `unauthenticated` | `forbidden` | `unavailable` |
   *   `timeout` | `tls` | `protocol` | `aborted`
   */
  request<T>(request: KubeRequest): Promise<T>;
  /**
   * What the API server tells of changes, an object at a time, as it came: nothing is checked, events of type `ERROR`
   * included. Ends when the server ends it in good order; ending the iteration early ends the connection, which is its
   * own, so that no watch holds up a call. As long as it takes, but no longer silent than `idleMs`.
   * @throws SnapshotError as `request`; `timeout` when nothing comes, `unavailable` when it is cut off in the middle,
   *   `protocol` for what is not a line of JSON
   */
  watch(request: WatchRequest): AsyncIterable<unknown>;
}

export interface ConnectOptions {
  /** Longest time for a call that sets none itself; 10 s unless given. */
  readonly timeoutMs?: number;
  /** Longest silence of a watch that sets none itself; 120 s unless given. */
  readonly idleMs?: number;
}

/**
 * Reads the kubeconfig, or without one the ServiceAccount of this pod; no connection is made yet.
 * Credentials are read anew for each call, and from the start when they are refused, so that rotated tokens and
 * certificates are taken up.
 * @throws SnapshotError `not-found` | `forbidden` | `io` | `usage` when there is no usable configuration
 */
export async function connect(
  kubeconfigPath: string | undefined,
  options: ConnectOptions = {},
): Promise<KubeClient> {
  const access = loadAccess(kubeconfigPath);
  const { server } = access;
  let current: { readonly tls: TlsMaterial; readonly pools: Pools } | undefined;
  /** Of certificates that were replaced; each until the last call that still goes over it has ended. */
  const retired = new Set<Pools>();

  const retire = async (pools: Pools): Promise<void> => {
    retired.add(pools);
    await Promise.allSettled(dispatchersOf(pools).map((pool) => pool.close()));
    retired.delete(pools);
  };
  const poolsFor = (tls: TlsMaterial): Pools => {
    if (current !== undefined && isDeepStrictEqual(current.tls, tls)) return current.pools;
    if (current !== undefined) void retire(current.pools);
    current = { tls, pools: openPools(tls, access.proxyUrl) };
    return current.pools;
  };

  const exchange = async (
    request: KubeRequest,
    signal: AbortSignal,
    kind: keyof Pools,
  ): Promise<Dispatcher.ResponseData> => {
    let used = await access.credentials();
    for (let renewed = false; ; renewed = true) {
      signal.throwIfAborted();
      const answer = await httpRequest(urlOf(server, request), {
        dispatcher: poolsFor(used.tls)[kind],
        method: request.method,
        headers: { ...used.headers, ...contentHeaders(request) },
        body: request.body === undefined ? null : JSON.stringify(request.body),
        // Calls and watches have deadlines of their own.
        headersTimeout: 0,
        bodyTimeout: 0,
        signal,
      });
      if (answer.statusCode !== 401 || renewed) return answer;
      const fresh = await access.renewedCredentials();
      if (isDeepStrictEqual(fresh, used)) return answer;
      await answer.body.dump();
      used = fresh;
    }
  };

  const translate = (error: unknown, request: KubeRequest, late: SnapshotError | undefined) => {
    if (request.signal.aborted) return abortError(request.signal);
    if (isSnapshotError(error)) return error;
    return late ?? fromConnection(request, server, asError(error));
  };

  return {
    server,
    async request<T>(request: KubeRequest): Promise<T> {
      const timeoutMs = request.timeoutMs ?? options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
      const deadline = AbortSignal.timeout(timeoutMs);
      const signal = AbortSignal.any([request.signal, deadline]);
      const call = async () => {
        const pool = request.urgent === true ? 'urgent' : 'calls';
        const { statusCode, body } = await exchange(request, signal, pool);
        return { statusCode, text: await body.text() };
      };
      try {
        signal.throwIfAborted();
        const { statusCode, text } = await untilAborted(call(), signal);
        if (statusCode >= 300) throw fromAnswer(request, statusCode, text);
        return parseJson<T>(request, server, text);
      } catch (error) {
        throw translate(error, request, deadline.aborted ? timedOut(request, server, timeoutMs) : undefined);
      }
    },
    async *watch({ idleMs = options.idleMs ?? DEFAULT_IDLE_MS, onOpen, ...request }) {
      const call: KubeRequest = { ...request, method: 'GET', query: { ...request.query, watch: '1' } };
      using silence = new SilenceTimer(idleMs);
      const signal = AbortSignal.any([request.signal, silence.signal]);
      try {
        signal.throwIfAborted();
        const { statusCode, body } = await untilAborted(exchange(call, signal, 'watches'), signal);
        if (statusCode >= 300) throw fromAnswer(call, statusCode, await body.text());
        onOpen?.();
        for await (const line of linesOf(silence.whileHeard(body), MAX_LINE_BYTES)) {
          signal.throwIfAborted();
          yield parseJson<unknown>(call, server, line);
        }
      } catch (error) {
        throw translate(error, call, silence.signal.aborted ? fellSilent(call, server, idleMs) : undefined);
      }
    },
    async [Symbol.asyncDispose]() {
      const open = [...retired, ...(current === undefined ? [] : [current.pools])];
      await Promise.all(open.flatMap(dispatchersOf).map((pool) => pool.destroy()));
    },
  };
}

function dispatchersOf(pools: Pools): readonly Dispatcher[] {
  return Object.values(pools);
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
