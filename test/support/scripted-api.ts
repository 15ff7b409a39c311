import { writeFile } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { Mailbox } from './mailbox.ts';
import { scratchDir } from './scratch.ts';

/** A request that a test answers by hand. */
export interface Exchange {
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly headers: IncomingHttpHeaders;
  /** The whole answer. */
  reply(status: number, body: unknown): void;
  /** Begins an answer without an end. */
  open(): void;
  /** A line each. */
  send(...objects: unknown[]): void;
  sendRaw(bytes: string | Uint8Array): void;
  /** Ends the answer as HTTP wants it. */
  end(): void;
  /** Breaks the connection. */
  cut(): void;
  /** Resolves when the answer has ended or the client has hung up. */
  readonly closed: Promise<void>;
}

export interface ScriptedApi extends AsyncDisposable {
  readonly url: string;
  /** Requests as they come. */
  readonly requests: Mailbox<Exchange>;
  /** Connections that are open. */
  readonly connections: number;
  /** Watches that are open. */
  readonly watching: number;
  /** The most of them that were open at once. */
  readonly watchesAtOnce: number;
  kubeconfig(user?: object): Promise<string>;
}

/** A server that says what a test has it say, in the place of an API server. */
export async function startScriptedApi(): Promise<ScriptedApi> {
  const scratch = await scratchDir('scripted-');
  const requests = new Mailbox<Exchange>();
  const sockets = new Set<Socket>();
  let watches = 0;
  let watchesAtOnce = 0;
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://any');
    const query = Object.fromEntries(url.searchParams);
    const { promise: closed, resolve } = Promise.withResolvers<void>();
    response.once('close', resolve);
    if (query['watch'] !== undefined) {
      watches += 1;
      watchesAtOnce = Math.max(watchesAtOnce, watches);
      response.once('close', () => {
        watches -= 1;
      });
    }
    requests.put({
      path: url.pathname,
      query,
      headers: request.headers,
      closed,
      reply: (status, body) => response.writeHead(status).end(JSON.stringify(body)),
      open: () => response.writeHead(200).flushHeaders(),
      send: (...objects) => response.write(objects.map((object) => `${JSON.stringify(object)}\n`).join('')),
      sendRaw: (bytes) => response.write(bytes),
      end: () => response.end(),
      cut: () => request.socket.destroy(),
    });
  });
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    requests,
    get connections() {
      return sockets.size;
    },
    get watching() {
      return watches;
    },
    get watchesAtOnce() {
      return watchesAtOnce;
    },
    async kubeconfig(user = {}) {
      const file = join(scratch.path, 'kubeconfig');
      const config = {
        'current-context': 'it',
        contexts: [{ name: 'it', context: { cluster: 'it', user: 'it' } }],
        clusters: [{ name: 'it', cluster: { server: url, 'insecure-skip-tls-verify': true } }],
        users: [{ name: 'it', user }],
      };
      await writeFile(file, JSON.stringify(config));
      return file;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      await scratch[Symbol.asyncDispose]();
    },
  };
}
