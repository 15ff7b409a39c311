import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request as plainRequest,
  type ServerResponse,
} from 'node:http';
import { createServer as createSecureServer, request as secureRequest } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { PassThrough, Transform } from 'node:stream';

/** On loopback a thousandth of it would do. */
const ARRIVAL_MS = 50;

export interface SeenRequest {
  readonly method: string;
  /** Path with query. */
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  /** Which request this is, from 1. */
  readonly count: number;
}

export type Fault =
  | { readonly status: number; readonly body?: string; readonly headers?: Record<string, string> }
  | { readonly cutAfterRequestBytes: number }
  | { readonly cutAfterResponseBytes: number }
  /** Nothing comes after so many bytes of the answer's body. */
  | { readonly hangAfterResponseBytes: number }
  /** Flips a bit of that byte of the answer's body. */
  | { readonly damagesResponseByte: number }
  | { readonly bytesPerSecond: number }
  | { readonly delayMs: number }
  /** Passes on only when that has come to be. */
  | { readonly after: Promise<unknown> }
  /** Passes the request on at once, and the answer only when that has come to be. */
  | { readonly answerAfter: Promise<unknown> }
  /** The server's clock as the client sees it: the Date of the answer, off by so much. */
  | { readonly clockOffByMs: number }
  /** Nothing is passed on, and nothing is answered. */
  | 'hang'
  /** The server gets the request, and nobody its answer. */
  | 'mute';

export interface FaultFront extends AsyncDisposable {
  readonly url: string;
  /** `host:port` */
  readonly endpoint: string;
  readonly requests: readonly SeenRequest[];
  /** Decides per request; undefined lets it pass. Holds from the next request on. */
  setRule(rule: (request: SeenRequest) => Fault | undefined): void;
}

/** What to show to a server behind TLS; the client of the front speaks plain http all the same, unless it has a `pair`. */
export interface UpstreamTls {
  readonly ca: string;
  readonly cert?: string;
  readonly key?: string;
  /** What the front shows to its own client, to speak TLS on that side too. */
  readonly pair?: { readonly cert: string; readonly key: string };
}

/** An HTTP proxy before a server, for faults in the protocol. The Host header stays as it came, so signatures hold. */
export async function startFaultFront(target: string, tls?: UpstreamTls): Promise<FaultFront> {
  const upstream = new URL(target);
  const forward = tls === undefined ? plainRequest : secureRequest;
  const requests: SeenRequest[] = [];
  const sockets = new Set<Socket>();
  let rule: (request: SeenRequest) => Fault | undefined = () => undefined;
  const pair = tls?.pair;
  const server = pair === undefined ? createServer() : createSecureServer(pair);
  server.on('request', (incoming: IncomingMessage, outgoing: ServerResponse) => {
    const { method = 'GET', url: path = '/', headers } = incoming;
    const seen: SeenRequest = { method, path, headers, count: requests.length + 1 };
    requests.push(seen);
    const fault = rule(seen);
    if (fault === 'hang') {
      incoming.resume();
      return;
    }
    if (fault !== undefined && fault !== 'mute' && 'status' in fault) {
      incoming.resume();
      incoming.once('end', () => outgoing.writeHead(fault.status, fault.headers).end(fault.body ?? ''));
      return;
    }
    const cut = () => incoming.socket.destroy();
    const upward =
      fault !== undefined && fault !== 'mute' && 'cutAfterRequestBytes' in fault
        ? cutter(fault.cutAfterRequestBytes, cut)
        : pace(fault);
    const passOn = (answer: IncomingMessage) => {
      if (fault === 'mute') {
        answer.resume();
        return;
      }
      outgoing.writeHead(answer.statusCode ?? 502, { ...answer.headers, ...clock(fault) });
      // A watch says nothing for a while, and is open all the same.
      outgoing.flushHeaders();
      if (fault !== undefined && 'cutAfterResponseBytes' in fault) {
        answer.pipe(cutter(fault.cutAfterResponseBytes, cut)).pipe(outgoing);
      } else if (fault !== undefined && 'hangAfterResponseBytes' in fault) {
        answer.pipe(cutter(fault.hangAfterResponseBytes, () => undefined)).pipe(outgoing);
      } else if (fault !== undefined && 'damagesResponseByte' in fault) {
        answer.pipe(damager(fault.damagesResponseByte)).pipe(outgoing);
      } else {
        answer.pipe(outgoing);
      }
    };
    const send = () => {
      const target = {
        host: upstream.hostname,
        port: upstream.port,
        method,
        path,
        headers,
        ...(tls === undefined ? {} : { ca: tls.ca, cert: tls.cert, key: tls.key, servername: 'localhost' }),
      };
      const proxied = forward(target, (answer) => {
        answer.once('close', () => {
          if (!answer.complete) cut();
        });
        if (fault !== undefined && fault !== 'mute' && 'answerAfter' in fault) {
          void fault.answerAfter.then(() => passOn(answer));
        } else passOn(answer);
      });
      // Either side may break off: that is the point of this front. The other side then sees it too.
      proxied.on('error', cut);
      outgoing.once('close', () => {
        if (!outgoing.writableFinished) proxied.destroy();
      });
      incoming.pipe(upward).pipe(proxied);
    };
    if (fault === undefined || fault === 'mute') send();
    else if ('delayMs' in fault) setTimeout(send, fault.delayMs);
    else if ('after' in fault) void fault.after.then(send);
    else send();
  });
  server.on('checkContinue', (incoming: IncomingMessage, outgoing: ServerResponse) => {
    outgoing.writeContinue();
    server.emit('request', incoming, outgoing);
  });
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const endpoint = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url: `${pair === undefined ? 'http' : 'https'}://${endpoint}`,
    endpoint,
    requests,
    setRule: (next) => {
      rule = next;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function clock(fault: Fault | undefined): { date?: string } {
  if (fault === undefined || typeof fault === 'string' || !('clockOffByMs' in fault)) return {};
  return { date: new Date(Date.now() + fault.clockOffByMs).toUTCString() };
}

/** Lets exactly so many bytes pass and then breaks the connection. */
function cutter(bytes: number, cut: () => void): Transform {
  let left = bytes;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      if (chunk.length <= left) {
        left -= chunk.length;
        done(null, chunk);
        return;
      }
      this.push(chunk.subarray(0, left));
      // What has passed gets the time to arrive.
      if (left === 0) cut();
      else setTimeout(cut, ARRIVAL_MS);
      left = 0;
    },
  });
}

function damager(byte: number): Transform {
  let passed = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const at = byte - passed;
      if (at >= 0 && at < chunk.length) chunk.writeUInt8(chunk.readUInt8(at) ^ 1, at);
      passed += chunk.length;
      done(null, chunk);
    },
  });
}

function pace(fault: Fault | undefined): Transform {
  if (fault === undefined || typeof fault === 'string' || !('bytesPerSecond' in fault))
    return new PassThrough();
  const { bytesPerSecond } = fault;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      setTimeout(() => done(null, chunk), (chunk.length / bytesPerSecond) * 1000);
    },
  });
}
