import { getEventListeners, once } from 'node:events';
import { createSecureServer, createServer } from 'node:http2';
import { createSecureContext } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Authority, certificateAuthority } from '../../test/support/certificates.ts';
import { listening } from '../../test/support/http2-server.ts';
import { scratchDir } from '../../test/support/scratch.ts';
import { startTcpFront } from '../../test/support/tcp-front.ts';
import { EtcdSession } from './etcd-session.ts';

const never = new AbortController().signal;
const MINUTES = 5 * 60_000;

const connect = (port: number, signal = never) =>
  EtcdSession.connect({ url: new URL(`http://127.0.0.1:${port}`), secureContext: undefined }, signal);

describe('a connection to etcd', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('leaves no timer behind when the member refuses the certificate', async () => {
    await using dir = await scratchDir();
    const ca: Authority = await certificateAuthority(dir.path, 'etcd');
    const { cert, key } = await ca.issue('server');
    const asking = createSecureServer({
      cert,
      key,
      ca: [ca.pem],
      requestCert: true,
      rejectUnauthorized: true,
    });
    await using server = await listening(asking);
    const url = new URL(`https://127.0.0.1:${server.port}`);
    const secureContext = createSecureContext({ ca: ca.pem });
    await expect(EtcdSession.connect({ url, secureContext }, never)).rejects.toMatchObject({
      code: 'unauthenticated',
    });
    expect(vi.getTimerCount()).toBe(0);
  });

  it('leaves no timer and no listener behind when the caller gives up', async () => {
    const abort = new AbortController();
    await using server = await listening(createServer());
    await using front = await startTcpFront(`127.0.0.1:${server.port}`);
    front.hang();
    const attempt = connect(Number(front.endpoint.split(':')[1]), abort.signal);
    abort.abort();
    await expect(attempt).rejects.toMatchObject({ code: 'aborted' });
    expect(vi.getTimerCount()).toBe(0);
    expect(getEventListeners(abort.signal, 'abort')).toEqual([]);
  });

  it('leaves no timer behind when it is closed while a ping is under way', async () => {
    await using server = await listening(createServer());
    await using front = await startTcpFront(`127.0.0.1:${server.port}`);
    const session = await connect(Number(front.endpoint.split(':')[1]));
    front.hang();
    vi.advanceTimersByTime(30_000);
    expect(vi.getTimerCount()).toBe(2);
    session.close();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('ends when the member answers no ping for 10 s', async () => {
    await using server = await listening(createServer());
    await using front = await startTcpFront(`127.0.0.1:${server.port}`);
    const session = await connect(Number(front.endpoint.split(':')[1]));
    const stream = session.call('/x');
    front.hang();
    const failed = once(stream, 'error');
    vi.advanceTimersByTime(40_000);
    const [error] = await failed;
    expect(session.failure('It failed', error)).toMatchObject({ code: 'timeout', retryable: true });
    session.close();
  });

  it('does nothing more once the member has hung up, but tells so when it is used', async () => {
    await using server = await listening(createServer());
    const session = await connect(server.port);
    const stream = session.call('/x').on('error', () => undefined);
    server.hangUp();
    await new Promise((resolve) => stream.once('close', resolve));
    expect(() => vi.advanceTimersByTime(MINUTES)).not.toThrow();
    expect(vi.getTimerCount()).toBe(0);
    expect(() => session.call('/x')).toThrow(
      expect.objectContaining({ name: 'SnapshotError', code: 'unavailable', retryable: true }),
    );
  });
});
