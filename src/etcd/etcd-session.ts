import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { abortError, asError, SnapshotError } from '../errors.ts';
import type { EtcdTarget } from './connection.ts';
import { fromConnectionError, fromGrpcStatus, timedOut } from './etcd-errors.ts';

/** Large windows let etcd send at full speed; larger ones than these were no faster and cost their size in memory. */
const STREAM_WINDOW = 8 * 1024 * 1024;
const CONNECTION_WINDOW = 16 * 1024 * 1024;
const MAX_FRAME = 1024 * 1024;
const CONNECT_TIMEOUT_MS = 5_000;
/** etcd takes pings at most every 5 s; k3s sends one every 30 s and waits 10 s. */
const PING_EVERY_MS = 30_000;
const PING_TIMEOUT_MS = 10_000;

/** One connection to one etcd member. */
export class EtcdSession {
  readonly #http2: ClientHttp2Session;
  readonly #endpoint: string;
  #pings: NodeJS.Timeout | undefined;
  /** Runs while a ping waits for its answer. */
  #late: NodeJS.Timeout | undefined;
  /** Why the connection ended; the streams only say that it did. */
  #broken: Error | undefined;

  private constructor(http2: ClientHttp2Session, endpoint: string) {
    this.#http2 = http2;
    this.#endpoint = endpoint;
    http2.on('error', (error) => {
      this.#broken ??= error;
    });
    http2.once('close', () => this.#stopPings());
  }

  /** The environment's proxy is never used: etcd is on this node or beside it. */
  static async connect(target: EtcdTarget, signal: AbortSignal): Promise<EtcdSession> {
    const endpoint = target.url.origin;
    const doing = `Cannot connect to etcd at ${endpoint}`;
    if (signal.aborted) throw abortError(signal);
    const socket = openSocket(target);
    // With TLS 1.3 a refused client certificate is an alert after the handshake: the socket reports it, but the http2
    // session just ends, with neither an error nor a close event.
    let refused: (error: Error) => void = () => undefined;
    socket.once('error', (error) => refused(error));
    const http2 = connect(target.url, {
      createConnection: () => socket,
      settings: { initialWindowSize: STREAM_WINDOW, maxFrameSize: MAX_FRAME, enablePush: false },
      maxSessionMemory: 64,
    });
    const session = new EtcdSession(http2, endpoint);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    refused = (error) => {
      session.#broken ??= error;
      reject(fromConnectionError(doing, error));
    };
    const timer = setTimeout(() => reject(timedOut(doing, CONNECT_TIMEOUT_MS)), CONNECT_TIMEOUT_MS);
    const onAbort = () => reject(abortError(signal));
    signal.addEventListener('abort', onAbort, { once: true });
    // An answered ping proves that the peer speaks HTTP/2 and takes our certificate; a connection alone proves neither.
    http2.once('connect', () => {
      // Told also of a session that has been given up meanwhile, and a ping would throw where nobody catches it.
      if (session.alive) http2.ping((error) => (error === null ? resolve() : undefined));
    });
    http2.once('error', (error) => reject(fromConnectionError(doing, error)));
    http2.once('close', () =>
      reject(fromConnectionError(doing, new Error('the connection was closed at once'))),
    );
    try {
      await promise;
      http2.setLocalWindowSize(CONNECTION_WINDOW);
      session.#pings = setInterval(() => session.#ping(), PING_EVERY_MS).unref();
      return session;
    } catch (error) {
      session.close();
      throw session.failure('Cannot connect to etcd', asError(error));
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** False once the connection has ended, from either side: then only a new one helps. */
  get alive(): boolean {
    return !this.#http2.closed && !this.#http2.destroyed;
  }

  /**
   * Begins a call with an empty request, which is all that Status and Snapshot need. The stream starts paused.
   * @throws SnapshotError when the connection has ended
   */
  call(path: string): ClientHttp2Stream {
    if (!this.alive) throw this.failure('The connection to etcd has ended', new Error('etcd hung up'));
    const stream = this.#http2.request({
      [constants.HTTP2_HEADER_METHOD]: 'POST',
      [constants.HTTP2_HEADER_PATH]: path,
      [constants.HTTP2_HEADER_CONTENT_TYPE]: 'application/grpc',
      [constants.HTTP2_HEADER_TE]: 'trailers',
      'user-agent': 'etcd-snapshot',
    });
    stream.end(Buffer.alloc(5));
    return stream;
  }

  /** What a stream's error means, knowing how the connection fared. */
  failure(doing: string, error: Error): SnapshotError {
    if (error instanceof SnapshotError) return error;
    return fromConnectionError(`${doing} at ${this.#endpoint}`, this.#broken ?? error);
  }

  close(): void {
    this.#stopPings();
    this.#http2.destroy();
  }

  #ping(): void {
    // A session may end without a close event; a ping would throw then, and nobody would catch it.
    if (!this.alive) {
      this.#stopPings();
      return;
    }
    clearTimeout(this.#late);
    this.#late = setTimeout(() => {
      this.#broken ??= timedOut(`etcd at ${this.#endpoint} stopped answering`, PING_TIMEOUT_MS);
      this.#http2.destroy(this.#broken);
    }, PING_TIMEOUT_MS);
    this.#http2.ping(() => clearTimeout(this.#late));
  }

  #stopPings(): void {
    clearInterval(this.#pings);
    clearTimeout(this.#late);
  }
}

function openSocket({ url, secureContext }: EtcdTarget): Socket {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80));
  if (secureContext === undefined) return connectTcp({ host, port });
  // Server name indication is for names; an address is checked against the certificate all the same.
  const servername = isIP(host) === 0 ? { servername: host } : {};
  return connectTls({ host, port, secureContext, ALPNProtocols: ['h2'], ...servername });
}

/** How a call ended, from its headers and trailers. */
export class CallOutcome {
  readonly #doing: string;
  #httpStatus = 0;
  #grpcStatus: string | undefined;
  #grpcMessage = '';

  constructor(doing: string, stream: ClientHttp2Stream) {
    this.#doing = doing;
    const take = (headers: Record<string, unknown>) => {
      const status = headers['grpc-status'];
      if (typeof status === 'string') this.#grpcStatus = status;
      const message = headers['grpc-message'];
      if (typeof message === 'string') this.#grpcMessage = message;
    };
    stream.once('response', (headers) => {
      this.#httpStatus = Number(headers[':status'] ?? 0);
      take(headers);
    });
    stream.once('trailers', take);
  }

  /** @throws SnapshotError unless the call ended with gRPC status OK: a stream that merely stops is not whole */
  check(): void {
    if (this.#grpcStatus === '0') return;
    if (this.#grpcStatus !== undefined) {
      throw fromGrpcStatus(this.#doing, Number(this.#grpcStatus), decodeMessage(this.#grpcMessage));
    }
    throw new SnapshotError(this.#httpStatus === 200 ? 'unavailable' : 'protocol', this.#doing, {
      why:
        this.#httpStatus === 200 || this.#httpStatus === 0
          ? 'the connection ended before etcd said that it was done'
          : `the endpoint answered with HTTP status ${this.#httpStatus}`,
      hint: 'Check that --etcd-servers names the client port of a healthy etcd member.',
      retryable: true,
    });
  }
}

/** grpc-message is percent-encoded; a malformed one is shown as it came. */
function decodeMessage(message: string): string {
  return /%(?![0-9A-Fa-f]{2})/.test(message) ? message : Buffer.from(unescapeBytes(message)).toString('utf8');
}

function unescapeBytes(message: string): Uint8Array {
  const bytes: number[] = [];
  for (let at = 0; at < message.length; at += 1) {
    if (message[at] === '%') {
      bytes.push(Number.parseInt(message.slice(at + 1, at + 3), 16));
      at += 2;
    } else {
      bytes.push(message.charCodeAt(at) & 0xff);
    }
  }
  return Uint8Array.from(bytes);
}
