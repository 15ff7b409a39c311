import { once } from 'node:events';
import { createServer as createHttp } from 'node:http';
import { type AddressInfo, createServer as createTcp, type Server } from 'node:net';
import { createServer as createTls } from 'node:tls';
import { expect, it } from 'vitest';
import { certificateAuthority } from '../../test/support/certificates.ts';
import { scratchDir } from '../../test/support/scratch.ts';
import { answersAsMember } from './peer-probe.ts';

const never = new AbortController().signal;

async function listening(server: Server) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    port,
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, 'close');
    },
  };
}

it.each([
  ['that says of which cluster it is', { 'X-Etcd-Cluster-ID': 'cdf818194e3a8c32' }, true],
  ['of something else', {}, false],
])('over http an answer %s decides', async (_what, headers, expected) => {
  await using server = await listening(
    createHttp((request, answer) => {
      answer.writeHead(request.url === '/members' ? 200 : 404, request.url === '/members' ? headers : {});
      answer.end('[]');
    }),
  );
  expect(await answersAsMember(`http://127.0.0.1:${server.port}`, never)).toBe(expected);
});

it.each(['TLSv1.2', 'TLSv1.3'] as const)(
  'over https with %s a member counts, although it wants a certificate',
  async (version) => {
    await using scratch = await scratchDir();
    const ca = await certificateAuthority(scratch.path, 'etcd');
    const { cert, key } = await ca.issue('etcd', { client: true });
    const options = { cert, key, ca: ca.pem, requestCert: true, rejectUnauthorized: true };
    const secure = createTls({ ...options, minVersion: version, maxVersion: version });
    await using server = await listening(secure);
    expect(await answersAsMember(`https://127.0.0.1:${server.port}`, never)).toBe(true);
  },
);

it.each([
  ['a greeting of SSH', 'SSH-2.0-OpenSSH_9.6\r\n'],
  ['an error of plain http', 'HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n'],
  // As a proxy that knows no such name: unrecognized_name.
  ['an alert about something else than certificates', Buffer.from([21, 3, 3, 0, 2, 2, 112])],
])('over https who answers with %s is no member', async (_what, answer) => {
  await using server = await listening(
    createTcp((socket) => {
      socket.on('error', () => socket.destroy());
      socket.once('data', () => socket.end(answer));
    }),
  );
  expect(await answersAsMember(`https://127.0.0.1:${server.port}`, never)).toBe(false);
});

it.each([40, 42, 116])(
  "over https the alert %i, which is about certificates, is a member's",
  async (alert) => {
    await using server = await listening(
      createTcp((socket) => {
        socket.on('error', () => socket.destroy());
        socket.once('data', () => socket.end(Buffer.from([21, 3, 3, 0, 2, 2, alert])));
      }),
    );
    expect(await answersAsMember(`https://127.0.0.1:${server.port}`, never)).toBe(true);
  },
);

it('nobody, somebody who is silent, and somebody without TLS are no members', async () => {
  const closed = await listening(createTcp());
  await closed[Symbol.asyncDispose]();
  expect(await answersAsMember(`https://127.0.0.1:${closed.port}`, never)).toBe(false);
  expect(await answersAsMember(`http://127.0.0.1:${closed.port}`, never)).toBe(false);
  await using silent = await listening(createTcp((socket) => void socket.resume()));
  expect(await answersAsMember(`https://127.0.0.1:${silent.port}`, AbortSignal.timeout(50))).toBe(false);
  expect(await answersAsMember('no address', never)).toBe(false);
});
