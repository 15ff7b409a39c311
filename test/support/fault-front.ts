import { createServer, request as forwardPlain, type IncomingHttpHeaders } from 'node:http';
import { request as forwardTls } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { PassThrough, Transform } from 'node:stream';

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
  | { readonly bytesPerSecond: number }
  | { readonly delayMs: number }
  /** The server's clock as the client sees it: the Date of the answer, off by so much. */
  | { readonly clockOffByMs: number }
  | 'hang';

export interface FaultFront extends AsyncDisposable {
  readonly url: string;
  /** `host:port` */
  readonly endpoint: string;
  readonly requests: readonly SeenRequest[];
  /** Decides per request; undefined lets it pass. Holds from the next request on. */
  setRule(rule: (request: SeenRequest) => Fault | undefined): void;
}

/**
 * An HTTP proxy before a server, for faults in the protocol. The Host header stays as it came, so signatures hold.
 * @param ca of a target that speaks https; the front itself does not
 */
export async function startFaultFront(target: string, ca?: string): Promise<FaultFront> {
  const upstream = new URL(target);
  // Whose name the certificate must hold: the Host header names the front, by its address.
  const tls = ca === undefined ? {} : { ca, servername: 'localhost' };
  const forward = upstream.protocol === 'https:' ? forwardTls : forwardPlain;
  const requests: SeenRequest[] = [];
  const sockets = new Set<Socket>();
  let rule: (request: SeenRequest) => Fault | undefined = () => undefined;
  const server = createServer((incoming, outgoing) => {
    const { method = 'GET', url: path = '/', headers } = incoming;
    const seen: SeenRequest = { method, path, headers, count: requests.length + 1 };
    requests.push(seen);
    const fault = rule(seen);
    if (fault === 'hang') {
      incoming.resume();
      return;
    }
    if (fault !== undefined && 'status' in fault) {
      incoming.resume();
      incoming.once('end', () => outgoing.writeHead(fault.status, fault.headers).end(fault.body ?? ''));
      return;
    }
    const cut = () => incoming.socket.destroy();
    const upward =
      fault !== undefined && 'cutAfterRequestBytes' in fault
        ? cutter(fault.cutAfterRequestBytes, cut)
        : pace(fault);
    const send = () => {
      const proxied = forward(
        { host: upstream.hostname, port: upstream.port, method, path, headers, ...tls },
        (answer) => {
          outgoing.writeHead(answer.statusCode ?? 502, { ...answer.headers, ...clock(fault) });
          outgoing.flushHeaders();
          answer.once('close', () => {
            if (!answer.complete) cut();
          });
          if (fault !== undefined && 'cutAfterResponseBytes' in fault) {
            answer.pipe(cutter(fault.cutAfterResponseBytes, cut)).pipe(outgoing);
          } else {
            answer.pipe(outgoing);
          }
        },
      );
      // Either side may break off: that is the point of this front. The other side then sees it too.
      proxied.on('error', cut);
      outgoing.once('close', () => {
        if (!outgoing.writableFinished) proxied.destroy();
      });
      incoming.pipe(upward).pipe(proxied);
    };
    if (fault !== undefined && 'delayMs' in fault) setTimeout(send, fault.delayMs);
    else send();
  });
  server.on('checkContinue', (incoming, outgoing) => {
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
    url: `http://${endpoint}`,
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

/** Lets so many bytes pass and then breaks the connection. */
function cutter(bytes: number, cut: () => void): Transform {
  let passed = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      passed += chunk.length;
      if (passed > bytes) cut();
      else done(null, chunk);
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
