import { createServer, request as forward, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';

export interface ConnectProxy extends AsyncDisposable {
  /** `http://host:port`, without credentials. */
  readonly url: string;
  /** `host:port` of everything that was asked for, by CONNECT or with a whole URL. */
  readonly targets: readonly string[];
  /** From now on every request is answered with this status; 0 hangs instead. */
  refuse(status: number): void;
}

export interface ProxyOptions {
  /** `user:password` that a client has to show. */
  readonly credentials?: string;
  /** Where names that no DNS knows really are: `name` or `*` to `host:port`. */
  readonly hosts?: Readonly<Record<string, string>>;
}

/** An HTTP proxy as companies run them: whole URLs for http, CONNECT for https. */
export async function startConnectProxy(options: ProxyOptions = {}): Promise<ConnectProxy> {
  const targets: string[] = [];
  const sockets = new Set<Socket>();
  let refusal: number | undefined;
  const decide = (target: string, { headers }: IncomingMessage): number => {
    targets.push(target);
    if (refusal !== undefined) return refusal;
    const wanted = options.credentials;
    const shown = headers['proxy-authorization'];
    return wanted === undefined || shown === `Basic ${Buffer.from(wanted).toString('base64')}` ? 200 : 407;
  };
  const placeOf = (target: string): [host: string, port: number] => {
    const { hosts = {} } = options;
    const at = target.lastIndexOf(':');
    const place = hosts[target.slice(0, at)] ?? hosts['*'] ?? target;
    const colon = place.lastIndexOf(':');
    return [place.slice(0, colon), Number(place.slice(colon + 1))];
  };
  const server = createServer((incoming, outgoing) => {
    const url = new URL(incoming.url ?? '');
    const target = `${url.hostname}:${url.port || 80}`;
    const status = decide(target, incoming);
    if (status === 0) return;
    if (status !== 200) {
      incoming.resume();
      incoming.once('end', () => outgoing.writeHead(status).end());
      return;
    }
    const [host, port] = placeOf(target);
    const { method, headers } = incoming;
    const proxied = forward(
      { host, port, method, path: `${url.pathname}${url.search}`, headers },
      (answer) => {
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(outgoing);
      },
    );
    proxied.on('error', () => outgoing.writeHead(502).end());
    incoming.pipe(proxied);
  });
  server.on('connect', (incoming: IncomingMessage, client: Socket) => {
    const target = incoming.url ?? '';
    const status = decide(target, incoming);
    client.on('error', () => client.destroy());
    if (status === 0) return;
    if (status !== 200) {
      client.end(`HTTP/1.1 ${status} No\r\n\r\n`);
      return;
    }
    const [host, port] = placeOf(target);
    const upstream = connect(port, host, () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      client.pipe(upstream).pipe(client);
    });
    sockets.add(upstream);
    upstream.on('error', () => client.end('HTTP/1.1 502 Bad gateway\r\n\r\n'));
    upstream.once('close', () => client.destroy());
    client.once('close', () => upstream.destroy());
  });
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    targets,
    refuse: (status) => {
      refusal = status;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
