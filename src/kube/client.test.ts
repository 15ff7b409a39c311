import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTcpServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SnapshotError } from '../errors.ts';
import { connect } from './client.ts';

const never = new AbortController().signal;
const path = '/api/v1/namespaces/kube-system';

interface Seen {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

let dir: string;
let server: Server;
let url: string;
let seen: Seen[];
let sockets: Set<Socket>;
let answer: (response: ServerResponse) => void;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'kube-client-'));
  seen = [];
  sockets = new Set();
  answer = (response) => response.end('{"ok":true}');
  server = createServer((request, response) => {
    sockets.add(request.socket);
    let body = '';
    request.setEncoding('utf8').on('data', (text: string) => {
      body += text;
    });
    request.on('end', () => {
      seen.push({ method: request.method, url: request.url, headers: request.headers, body });
      answer(response);
    });
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, '127.0.0.1', resolve);
  await promise;
  const address = server.address();
  url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
});

afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await rm(dir, { recursive: true });
});

interface Parts {
  readonly cluster?: object;
  readonly user?: object;
}

async function kubeconfig({ cluster = {}, user = {} }: Parts = {}): Promise<string> {
  const file = join(dir, 'kubeconfig');
  const config = {
    'current-context': 'it',
    contexts: [{ name: 'it', context: { cluster: 'it', user: 'it' } }],
    clusters: [{ name: 'it', cluster: { server: url, 'insecure-skip-tls-verify': true, ...cluster } }],
    users: [{ name: 'it', user }],
  };
  await writeFile(file, JSON.stringify(config));
  return file;
}

/** Accepts connections and says nothing, so that no TLS handshake ever ends. */
function createMuteServer(): AsyncDisposable & { readonly port: Promise<number> } {
  const open = new Set<Socket>();
  const mute = createTcpServer((socket) => open.add(socket.on('error', () => open.delete(socket))));
  const { promise, resolve } = Promise.withResolvers<number>();
  mute.listen(0, '127.0.0.1', () => {
    const address = mute.address();
    resolve(typeof address === 'object' ? (address?.port ?? 0) : 0);
  });
  return {
    port: promise,
    async [Symbol.asyncDispose]() {
      mute.close();
      for (const socket of open) socket.destroy();
    },
  };
}

describe('connect', () => {
  it('sends method, query, body and credentials, and returns the JSON as it came', async () => {
    const user = { token: 'a-token' };
    await using client = await connect(await kubeconfig({ user }));
    const reply = await client.request({
      method: 'PATCH',
      path,
      query: { fieldManager: 'me', labelSelector: '' },
      body: { a: 1 },
      contentType: 'application/merge-patch+json',
      signal: never,
    });
    expect(reply).toEqual({ ok: true });
    expect(seen[0]).toMatchObject({ method: 'PATCH', url: `${path}?fieldManager=me`, body: '{"a":1}' });
    expect(seen[0]?.headers).toMatchObject({
      authorization: 'Bearer a-token',
      'content-type': 'application/merge-patch+json',
    });
  });

  it('takes several kubeconfigs as kubectl does', async () => {
    await using client = await connect(`/none/such:${await kubeconfig()}`);
    await client.request({ method: 'GET', path, signal: never });
    expect(seen).toHaveLength(1);
  });

  it('makes many calls over few connections', async () => {
    await using client = await connect(await kubeconfig());
    for (let i = 0; i < 20; i++) await client.request({ method: 'GET', path, signal: never });
    expect(seen).toHaveLength(20);
    expect(sockets.size).toBeLessThanOrEqual(4);
  });

  it('closes the connections of replaced certificates once their last call has ended', async () => {
    server.keepAliveTimeout = 600_000;
    const [certificate, key] = [join(dir, 'tls.crt'), join(dir, 'tls.key')];
    await writeFile(key, 'key');
    await writeFile(certificate, 'certificate 0');
    const user = { 'client-certificate': certificate, 'client-key': key };
    await using client = await connect(await kubeconfig({ user }));
    const get = () => client.request({ method: 'GET', path, signal: never });
    const held = Promise.withResolvers<ServerResponse>();
    answer = held.resolve;
    const slow = get();
    const response = await held.promise;
    answer = (other) => other.end('{}');
    for (let rotation = 1; rotation <= 100; rotation += 1) {
      await writeFile(certificate, `certificate ${rotation}`);
      await get();
    }
    expect(sockets.size).toBe(101);
    const open = () => [...sockets].filter(({ destroyed }) => !destroyed);
    await vi.waitFor(() => expect(open()).toHaveLength(2), 15_000);
    response.end('{"slow":true}');
    expect(await slow).toEqual({ slow: true });
    await vi.waitFor(() => expect(open()).toHaveLength(1), 15_000);
  });

  it('lets an urgent call through while all connections wait for slow answers', async () => {
    const held: ServerResponse[] = [];
    answer = (response) => void held.push(response);
    await using client = await connect(await kubeconfig());
    const slow = Array.from({ length: 16 }, () => client.request({ method: 'GET', path, signal: never }));
    while (held.length < 4) await new Promise(setImmediate);
    answer = (response) => response.end('{"urgent":true}');
    expect(await client.request({ method: 'GET', path, signal: never, urgent: true })).toEqual({
      urgent: true,
    });
    for (const response of held) response.end('{}');
    await Promise.all(slow);
  });

  it('keeps the path of a server behind a prefix', async () => {
    await using client = await connect(await kubeconfig({ cluster: { server: `${url}/k8s/c-1/` } }));
    await client.request({ method: 'GET', path, signal: never });
    expect(seen[0]?.url).toBe(`/k8s/c-1${path}`);
  });

  it('takes the token of a credential plugin', async () => {
    const credential = { kind: 'ExecCredential', status: { token: 'from-plugin' } };
    const exec = {
      apiVersion: 'client.authentication.k8s.io/v1',
      command: 'echo',
      args: [JSON.stringify(credential)],
    };
    await using client = await connect(await kubeconfig({ user: { exec } }));
    await client.request({ method: 'GET', path, signal: never });
    expect(seen[0]?.headers.authorization).toBe('Bearer from-plugin');
  });

  it('does not wait for a credential plugin beyond the deadline', async () => {
    const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: 'sleep', args: ['3'] };
    await using client = await connect(await kubeconfig({ user: { exec } }), { timeoutMs: 50 });
    await expect(client.request({ method: 'GET', path, signal: never })).rejects.toMatchObject({
      code: 'timeout',
    });
    expect(seen).toEqual([]);
  });

  it('says so when a credential plugin is missing, without its environment', async () => {
    const env = [{ name: 'PASSWORD', value: 'hunter2' }];
    const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: join(dir, 'nothing'), env };
    await using client = await connect(await kubeconfig({ user: { exec } }));
    const error = await client.request({ method: 'GET', path, signal: never }).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: 'unauthenticated', why: expect.stringContaining('ENOENT') });
    expect(inspect(error)).not.toContain('hunter2');
  });

  it('ends a call that gets no answer in time', async () => {
    answer = () => {};
    await using client = await connect(await kubeconfig());
    const call = client.request({ method: 'GET', path, signal: never, timeoutMs: 50 });
    await expect(call).rejects.toMatchObject({ code: 'timeout', retryable: true });
  });

  it('ends calls whose connection never gets ready, by deadline and by signal', async () => {
    await using mute = createMuteServer();
    const cluster = { server: `https://127.0.0.1:${await mute.port}` };
    await using client = await connect(await kubeconfig({ cluster }), { timeoutMs: 50 });
    const get = (signal: AbortSignal, timeoutMs: number) =>
      client.request({ method: 'GET', path, signal, timeoutMs });
    await expect(get(never, 50)).rejects.toMatchObject({ code: 'timeout' });
    await expect(get(AbortSignal.timeout(50), 60_000)).rejects.toMatchObject({ code: 'aborted' });
  });

  it('ends a call whose answer stops in the middle', async () => {
    answer = (response) => response.writeHead(200, { 'content-length': '100' }).write('{"half":');
    await using client = await connect(await kubeconfig(), { timeoutMs: 100 });
    await expect(client.request({ method: 'GET', path, signal: never })).rejects.toMatchObject({
      code: 'timeout',
    });
  });

  it('ends a call when the signal fires, before and during it', async () => {
    const stop = new AbortController();
    answer = () => stop.abort();
    await using client = await connect(await kubeconfig());
    for (const round of ['during', 'before']) {
      const call = client.request({ method: 'GET', path, signal: stop.signal });
      await expect(call, round).rejects.toMatchObject({ code: 'aborted' });
    }
    expect(seen).toHaveLength(1);
  });

  it('refuses an answer that is not JSON', async () => {
    answer = (response) => response.end('<html>Sign in</html>');
    await using client = await connect(await kubeconfig());
    await expect(client.request({ method: 'GET', path, signal: never })).rejects.toMatchObject({
      code: 'protocol',
    });
  });

  it('says that nobody listens', async () => {
    const file = await kubeconfig();
    server.close();
    await using client = await connect(file);
    await expect(client.request({ method: 'GET', path, signal: never })).rejects.toMatchObject({
      code: 'unavailable',
      retryable: true,
      why: expect.stringContaining('ECONNREFUSED'),
    });
  });

  it('goes through the proxy of the kubeconfig', async () => {
    const file = await kubeconfig({ cluster: { server: 'http://api.invalid', 'proxy-url': url } });
    await using client = await connect(file);
    expect(await client.request({ method: 'GET', path, signal: never })).toEqual({ ok: true });
    expect(seen[0]?.url).toBe(`http://api.invalid${path}`);
  });

  it.each<[string, Parts, string]>([
    ['plain http without leave', { cluster: { 'insecure-skip-tls-verify': false } }, 'usage'],
    ['a server that is no URL', { cluster: { server: 'nowhere' } }, 'usage'],
  ])('refuses a kubeconfig with %s', async (_, parts, code) => {
    await expect(connect(await kubeconfig(parts))).rejects.toMatchObject({ code });
  });

  it('refuses a kubeconfig that is missing, garbage, a folder or empty', async () => {
    const garbage = join(dir, 'garbage');
    await writeFile(garbage, '{{{');
    const empty = join(dir, 'empty');
    await writeFile(empty, '');
    const codes = [join(dir, 'none'), garbage, dir, empty].map(async (file) =>
      connect(file).then(
        () => 'connected',
        (error: unknown) => (error instanceof SnapshotError ? error.code : error),
      ),
    );
    expect(await Promise.all(codes)).toEqual(['not-found', 'usage', 'io', 'usage']);
  });

  it('says that there is no cluster without a kubeconfig and outside of a pod', async () => {
    await expect(connect(undefined)).rejects.toMatchObject({ code: 'not-found' });
  });
});
