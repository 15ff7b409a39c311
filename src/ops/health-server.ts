import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { asError, SnapshotError, systemCode } from '../errors.ts';
import type { Metrics } from './metrics.ts';
import type { Readiness } from './readiness.ts';

export interface HealthServer extends AsyncDisposable {
  /** The address that was taken: its port is told even where the configuration left it open. */
  readonly address: { readonly host: string; readonly port: number };
}

export interface HealthServerOptions {
  readonly host: string;
  /** 0 asks the system for a free port. */
  readonly port: number;
  readonly readiness: Readiness;
  readonly metrics: Metrics;
}

const REQUEST_TIMEOUT_MS = 10_000;

/**
 * `/healthz` (the process runs), `/readyz` (its parts as JSON; 503 while one that is needed is not ready) and `/metrics`.
 * @throws SnapshotError `usage` when the address cannot be listened on
 */
export async function startHealthServer(options: HealthServerOptions): Promise<HealthServer> {
  const { host, port, readiness, metrics } = options;
  const routes: Readonly<Record<string, (response: ServerResponse) => Promise<void> | void>> = {
    '/healthz': (response) => send(response, 200, 'text/plain', 'ok\n'),
    '/readyz'(response) {
      const report = readiness.report();
      send(response, report.ready ? 200 : 503, 'application/json', `${JSON.stringify(report, null, 2)}\n`);
    },
    async '/metrics'(response) {
      send(response, 200, metrics.contentType, await metrics.text());
    },
  };
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
    const path = (request.url ?? '').split('?', 1)[0] ?? '';
    const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
    if (route === undefined) {
      send(response, 404, 'text/plain', `There are ${Object.keys(routes).join(', ')}.\n`);
    } else if (request.method !== 'GET' && request.method !== 'HEAD') {
      send(response, 405, 'text/plain', 'Only GET.\n');
    } else {
      void Promise.resolve(route(response)).catch((error: unknown) =>
        send(response, 500, 'text/plain', `${asError(error).message}\n`),
      );
    }
  });
  server.listen(port, host);
  try {
    await once(server, 'listening');
  } catch (error) {
    throw new SnapshotError('usage', `--listen-address: cannot listen on ${host}:${port}`, {
      why: systemCode(error) === 'EADDRINUSE' ? 'another process has that port' : asError(error).message,
      hint: 'Choose another address, for instance --listen-address=127.0.0.1:8383.',
      cause: error,
    });
  }
  const bound = server.address();
  return {
    address: { host, port: typeof bound === 'object' && bound !== null ? bound.port : port },
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}
