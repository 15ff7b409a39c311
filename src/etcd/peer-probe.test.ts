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

it('nobody, somebody who is silent, and somebody without TLS are no members', async () => {
  const closed = await listening(createTcp());
  await closed[Symbol.asyncDispose]();
  expect(await answersAsMember(`https://127.0.0.1:${closed.port}`, never)).toBe(false);
  expect(await answersAsMember(`http://127.0.0.1:${closed.port}`, never)).toBe(false);
  await using silent = await listening(createTcp((socket) => void socket.resume()));
  expect(await answersAsMember(`https://127.0.0.1:${silent.port}`, AbortSignal.timeout(50))).toBe(false);
  expect(await answersAsMember('no address', never)).toBe(false);
});
