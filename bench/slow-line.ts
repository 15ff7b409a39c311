import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface SlowLine extends AsyncDisposable {
  /** `host:port` */
  readonly endpoint: string;
}

/** As much as the queues of a real line hold: more is not taken from the client before some of it has left. */
const QUEUE_BYTES = 1024 * 1024;

/**
 * A line to a server: everything arrives `latencyMs / 2` later in each direction, and all connections together send at most
 * `bytesPerSecond` towards the server.
 */
export async function startSlowLine(
  target: string,
  { latencyMs, bytesPerSecond }: { readonly latencyMs: number; readonly bytesPerSecond: number },
): Promise<SlowLine> {
  const sockets = new Set<Socket>();
  /** When the line has sent all that was given to it, in milliseconds. */
  let freeAt = 0;
  const carry = (from: Socket, to: Socket, isUpward: boolean) => {
    const waiting: { readonly chunk: Buffer | undefined; readonly at: number }[] = [];
    let queued = 0;
    // One timer for all: two of them may ring in another order than they were set.
    const deliver = () => {
      for (let next = waiting[0]; next !== undefined; next = waiting[0]) {
        const left = next.at - performance.now();
        if (left > 0) {
          setTimeout(deliver, left);
          return;
        }
        waiting.shift();
        if (next.chunk === undefined) to.end();
        else if (!to.destroyed) to.write(next.chunk);
        queued -= next.chunk?.length ?? 0;
        if (queued < QUEUE_BYTES) from.resume();
      }
    };
    const send = (chunk: Buffer | undefined) => {
      const now = performance.now();
      let sentAt = now;
      if (isUpward) {
        freeAt = Math.max(freeAt, now) + ((chunk?.length ?? 0) / bytesPerSecond) * 1000;
        sentAt = freeAt;
      }
      waiting.push({ chunk, at: sentAt + latencyMs / 2 });
      if (waiting.length === 1) deliver();
      queued += chunk?.length ?? 0;
      if (queued >= QUEUE_BYTES) from.pause();
    };
    from.on('data', send);
    from.once('end', () => send(undefined));
  };
  const [host = '', port = ''] = target.split(':');
  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ host, port: Number(port), noDelay: true });
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.once('close', () => sockets.delete(socket));
    }
    client.once('close', () => upstream.destroy());
    carry(client, upstream, true);
    carry(upstream, client, false);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    endpoint: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
