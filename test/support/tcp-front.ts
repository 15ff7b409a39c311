import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { Transform } from 'node:stream';

export interface TcpFront extends AsyncDisposable {
  /** `host:port` */
  readonly endpoint: string;
  /** Clients that are connected. */
  readonly connections: number;
  /** How often `damage` has happened. */
  readonly damaged: number;
  /** Cuts a connection once so many bytes of the server passed. */
  cutAfter(bytes: number): void;
  /** Passes the server's bytes on at most at this pace. */
  throttle(bytesPerSecond: number): void;
  /** Passes the client's bytes on at most at this pace. */
  throttleUpward(bytesPerSecond: number): void;
  /** Flips a bit, once, of what a client sends or the server answers, when so many bytes have passed on its connection. */
  damage(side: Side, afterBytes: number): void;
  /** From now on nothing passes, in neither direction, not even the end of a connection. */
  hang(): void;
  /** Resets every open connection at once. */
  reset(): void;
  /** From now on everything passes unhindered. */
  heal(): void;
}

type Side = 'client' | 'server';

type Rule =
  | { readonly kind: 'pass' }
  | { readonly kind: 'cut'; readonly bytes: number }
  | { readonly kind: 'throttle' | 'throttle-upward'; readonly bytesPerSecond: number }
  | { readonly kind: 'damage'; readonly side: Side; readonly bytes: number }
  | { readonly kind: 'hang' };

/** A TCP proxy before a server, for faults below TLS. Rules hold for open connections too. */
export async function startTcpFront(target: string): Promise<TcpFront> {
  let rule: Rule = { kind: 'pass' };
  const sockets = new Set<Socket>();
  let connections = 0;
  let damaged = 0;
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
    const gate = (side: Side, pace: 'throttle' | 'throttle-upward') => {
      let passed = 0;
      return new Transform({
        transform(chunk: Buffer, _encoding, done) {
          if (rule.kind === 'hang') return;
          if (side === 'server' && rule.kind === 'cut') {
            passed += chunk.length;
            if (passed > rule.bytes) {
              client.destroy();
              return;
            }
          }
          if (rule.kind === 'damage' && rule.side === side) {
            passed += chunk.length;
            if (passed > rule.bytes) {
              rule = { kind: 'pass' };
              damaged += 1;
              chunk.writeUInt8(chunk.readUInt8(chunk.length - 1) ^ 1, chunk.length - 1);
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
    };
    client.pipe(gate('client', 'throttle-upward')).pipe(upstream);
    upstream.pipe(gate('server', 'throttle')).pipe(client);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    endpoint: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    get connections() {
      return connections;
    },
    get damaged() {
      return damaged;
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
    damage: (side, bytes) => {
      rule = { kind: 'damage', side, bytes };
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
