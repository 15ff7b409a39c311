import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { Transform } from 'node:stream';

export interface TcpFront extends AsyncDisposable {
  /** `host:port` */
  readonly endpoint: string;
  /** Clients that are connected. */
  readonly connections: number;
  /** Cuts a connection once so many bytes of the server passed. */
  cutAfter(bytes: number): void;
  /** Passes the server's bytes on at most at this pace. */
  throttle(bytesPerSecond: number): void;
  /** Passes the client's bytes on at most at this pace. */
  throttleUpward(bytesPerSecond: number): void;
  /** From now on nothing passes, in neither direction, not even the end of a connection. */
  hang(): void;
  /** Resets every open connection at once. */
  reset(): void;
  /** From now on everything passes unhindered. */
  heal(): void;
}

type Rule =
  | { readonly kind: 'pass' }
  | { readonly kind: 'cut'; readonly bytes: number }
  | { readonly kind: 'throttle' | 'throttle-upward'; readonly bytesPerSecond: number }
  | { readonly kind: 'hang' };

/** A TCP proxy before a server, for faults below TLS. Rules hold for open connections too. */
export async function startTcpFront(target: string): Promise<TcpFront> {
  let rule: Rule = { kind: 'pass' };
  const sockets = new Set<Socket>();
  let connections = 0;
  const separator = target.lastIndexOf(':');
  const server = createServer((client) => {
    const upstream = connect(Number(target.slice(separator + 1)), target.slice(0, separator));
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.once('close', () => {
        sockets.delete(socket);
        // Whoever hangs does not even see that the other side has gone.
        if (rule.kind === 'hang') return;
        client.destroy();
        upstream.destroy();
      });
      // A reset is what these connections are for; the close that follows ends the pair.
      socket.on('error', () => socket.destroy());
    }
    connections += 1;
    client.once('close', () => {
      connections -= 1;
    });
    let passed = 0;
    const gate = (counts: boolean, pace: 'throttle' | 'throttle-upward') =>
      new Transform({
        transform(chunk: Buffer, _encoding, done) {
          if (rule.kind === 'hang') return;
          if (counts && rule.kind === 'cut') {
            passed += chunk.length;
            if (passed > rule.bytes) {
              client.destroy();
              return;
            }
          }
          const wait = rule.kind === pace ? (chunk.length / rule.bytesPerSecond) * 1000 : 0;
          if (wait === 0) done(null, chunk);
          else setTimeout(() => done(null, chunk), wait);
        },
        flush(done) {
          if (rule.kind !== 'hang') done();
        },
      });
    client.pipe(gate(false, 'throttle-upward')).pipe(upstream);
    upstream.pipe(gate(true, 'throttle')).pipe(client);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    endpoint: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    get connections() {
      return connections;
    },
    cutAfter: (bytes) => {
      rule = { kind: 'cut', bytes };
    },
    throttle: (bytesPerSecond) => {
      rule = { kind: 'throttle', bytesPerSecond };
    },
    throttleUpward: (bytesPerSecond) => {
      rule = { kind: 'throttle-upward', bytesPerSecond };
    },
    hang: () => {
      rule = { kind: 'hang' };
    },
    reset: () => {
      for (const socket of sockets) socket.resetAndDestroy();
    },
    heal: () => {
      rule = { kind: 'pass' };
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      if (server.listening) await new Promise((resolve) => server.close(resolve));
    },
  };
}
