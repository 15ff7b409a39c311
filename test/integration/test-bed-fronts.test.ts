import { createServer, request } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startFaultFront } from '../support/fault-front.ts';
import { startTcpFront } from '../support/tcp-front.ts';

const BODY = Buffer.alloc(200_000, 'x');

describe('the fronts of the test bed', () => {
  let target: string;
  let received = 0;
  const server = createServer((incoming, outgoing) => {
    incoming.on('data', (chunk: Buffer) => {
      received += chunk.length;
    });
    incoming.once('end', () => outgoing.end(BODY));
  });

  beforeEach(() => {
    received = 0;
  });

  beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    target = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  });

  afterAll(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  it('passes everything without a rule, and counts', async () => {
    await using front = await startFaultFront(`http://${target}`);
    expect(await exchange(front.url, 'PUT')).toMatchObject({ status: 200, bytes: BODY.length });
    expect(received).toBe(BODY.length);
    expect(front.requests).toMatchObject([{ method: 'PUT', path: '/', count: 1 }]);
  });

  it('answers a status itself, for the requests that the rule picks', async () => {
    await using front = await startFaultFront(`http://${target}`);
    front.setRule(({ count }) => (count === 1 ? { status: 503, body: 'later' } : undefined));
    expect(await exchange(front.url, 'PUT')).toMatchObject({ status: 503, bytes: 5 });
    expect(await exchange(front.url, 'PUT')).toMatchObject({ status: 200 });
  });

  it('cuts in mid-request', async () => {
    await using front = await startFaultFront(`http://${target}`);
    front.setRule(() => ({ cutAfterRequestBytes: 70_000 }));
    await expect(exchange(front.url, 'PUT')).rejects.toMatchObject({
      code: expect.stringMatching(/ECONNRESET|EPIPE/),
    });
    expect(received).toBeLessThanOrEqual(70_000);
  });

  it('cuts in mid-answer', async () => {
    await using front = await startFaultFront(`http://${target}`);
    front.setRule(() => ({ cutAfterResponseBytes: 70_000 }));
    await expect(exchange(front.url, 'GET')).rejects.toMatchObject({ code: 'ECONNRESET' });
  });

  it('hangs until the client gives up', async () => {
    await using front = await startFaultFront(`http://${target}`);
    front.setRule(() => 'hang');
    await expect(exchange(front.url, 'GET', AbortSignal.timeout(200))).rejects.toMatchObject({
      name: 'AbortError',
    });
  });

  it.each([{ bytesPerSecond: 10_000 }, { delayMs: 60_000 }])('is as slow as %o', async (fault) => {
    await using front = await startFaultFront(`http://${target}`);
    front.setRule(() => fault);
    // Twenty seconds and a minute are due; who gives up after a quarter of a second has nothing.
    await expect(exchange(front.url, 'PUT', AbortSignal.timeout(250))).rejects.toMatchObject({
      name: 'AbortError',
    });
  });

  it('holds a request back until something has come to be', async () => {
    await using front = await startFaultFront(`http://${target}`);
    const { promise, resolve } = Promise.withResolvers<void>();
    front.setRule(() => ({ after: promise }));
    const answer = exchange(front.url, 'PUT');
    while (front.requests.length === 0) await new Promise((again) => setTimeout(again, 5));
    expect(received).toBe(0);
    resolve();
    expect(await answer).toMatchObject({ status: 200, bytes: BODY.length });
  });

  it('shows another clock', async () => {
    await using front = await startFaultFront(`http://${target}`);
    front.setRule(() => ({ clockOffByMs: 3_600_000 }));
    const { date } = await exchange(front.url, 'GET');
    expect(Date.parse(date) - Date.now()).toBeGreaterThan(3_500_000);
  });

  it('passes, cuts, resets and heals below HTTP', async () => {
    await using front = await startTcpFront(target);
    const url = `http://${front.endpoint}`;
    expect(await exchange(url, 'PUT')).toMatchObject({ bytes: BODY.length });
    front.cutAfter(70_000);
    await expect(exchange(url, 'GET')).rejects.toMatchObject({ code: 'ECONNRESET' });
    front.hang();
    await expect(exchange(url, 'GET', AbortSignal.timeout(200))).rejects.toMatchObject({
      name: 'AbortError',
    });
    const [host = '', port] = front.endpoint.split(':');
    const idle = connect(Number(port), host);
    const broken = new Promise((resolve) => idle.once('error', resolve));
    await new Promise((resolve) => idle.once('connect', resolve));
    // The front has the connection only a moment after the client believes so: ask until it is gone.
    const asking = setInterval(() => front.reset(), 10);
    await expect(broken).resolves.toMatchObject({ code: 'ECONNRESET' });
    clearInterval(asking);
    front.heal();
    expect(await exchange(url, 'GET')).toMatchObject({ bytes: BODY.length });
  });

  it('throttles below HTTP', async () => {
    await using front = await startTcpFront(target);
    front.throttle(10_000);
    await expect(exchange(`http://${front.endpoint}`, 'GET', AbortSignal.timeout(250))).rejects.toMatchObject(
      {
        name: 'AbortError',
      },
    );
  });
});

/** One request on a connection of its own; a PUT carries the body. */
function exchange(
  url: string,
  method: 'GET' | 'PUT',
  signal?: AbortSignal,
): Promise<{ status: number; bytes: number; date: string }> {
  return new Promise((resolve, reject) => {
    const sent = request(
      url,
      { method, agent: false, ...(signal === undefined ? {} : { signal }) },
      (answer) => {
        let bytes = 0;
        answer.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
        });
        answer.once('error', reject);
        answer.once('end', () =>
          resolve({ status: answer.statusCode ?? 0, bytes, date: answer.headers.date ?? '' }),
        );
      },
    );
    sent.once('error', reject);
    sent.end(method === 'PUT' ? BODY : undefined);
  });
}
