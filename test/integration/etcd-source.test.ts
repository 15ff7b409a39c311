import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EtcdSettings } from '../../src/config/types.ts';
import { createEtcdSource } from '../../src/etcd/snapshot-source.ts';
import { IntegrityCheck } from '../../src/snapshot/integrity.ts';
import type { SnapshotSource } from '../../src/snapshot/ports.ts';
import { certificateAuthority } from '../support/certificates.ts';
import { type EtcdCluster, startEtcd } from '../support/etcd-server.ts';
import { scratchDir } from '../support/scratch.ts';
import { startTcpFront } from '../support/tcp-front.ts';

const clock = { now: () => new Date() };
const patient = () => AbortSignal.timeout(60_000);

async function readAll(source: SnapshotSource, signal: AbortSignal): Promise<number> {
  const stream = await source.open(signal);
  const check = new IntegrityCheck();
  for await (const batch of stream) check.update(batch);
  check.finish(stream.size);
  return check.bytes;
}

async function withSource<T>(
  settings: EtcdSettings,
  use: (source: SnapshotSource) => Promise<T>,
): Promise<T> {
  const source = createEtcdSource(settings, clock);
  try {
    return await use(source);
  } finally {
    source.close();
  }
}

describe.each(['3.5', '3.6'] as const)('etcd %s over TLS', (version) => {
  let etcd: EtcdCluster;
  beforeAll(async () => {
    etcd = await startEtcd({ version });
    await etcd.fill(24 * 1024 * 1024);
  });
  afterAll(() => etcd[Symbol.asyncDispose]());

  it('tells its status', async () => {
    const status = await withSource(etcd.settings(), (source) => source.status(patient()));
    expect(status).toMatchObject({ isLearner: false, errors: [], endpoint: etcd.endpoints[0] });
    expect(status.memberId).toMatch(/^[0-9a-f]{8,16}$/);
    expect(status.memberId).toBe(status.leaderId);
  });

  it('streams a snapshot of the announced size with the right hash, twice on one connection', async () => {
    await withSource(etcd.settings(), async (source) => {
      expect(await readAll(source, patient())).toBeGreaterThan(20 * 1024 * 1024);
      expect(await readAll(source, patient())).toBeGreaterThan(20 * 1024 * 1024);
    });
  });

  it('holds etcd back when the reader is slow, and loses nothing', async () => {
    await withSource(etcd.settings(), async (source) => {
      const stream = await source.open(patient());
      const check = new IntegrityCheck();
      for await (const batch of stream) {
        check.update(batch);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      expect(() => check.finish(stream.size)).not.toThrow();
    });
  });

  it('stops when the caller aborts, and the connection serves the next call', async () => {
    await withSource(etcd.settings(), async (source) => {
      const abort = new AbortController();
      const stream = await source.open(abort.signal);
      const reading = (async () => {
        for await (const _batch of stream) abort.abort();
      })();
      await expect(reading).rejects.toMatchObject({ code: 'aborted' });
      await expect(source.status(patient())).resolves.toMatchObject({ isLearner: false });
    });
  });

  it('breaks off with an error when the connection is cut in mid-stream', async () => {
    await using front = await startTcpFront(new URL(etcd.endpoints[0] ?? '').host);
    front.cutAfter(5 * 1024 * 1024);
    const settings = { ...etcd.settings(), endpoints: [`https://${front.endpoint}`] };
    await expect(withSource(settings, (source) => readAll(source, patient()))).rejects.toMatchObject({
      code: 'unavailable',
      retryable: true,
    });
  });

  it('connects anew for the next status when the connection has ended, but not for a stream', async () => {
    await using front = await startTcpFront(new URL(etcd.endpoints[0] ?? '').host);
    const settings = { ...etcd.settings(), endpoints: [`https://${front.endpoint}`] };
    await withSource(settings, async (source) => {
      const stream = await source.open(patient());
      front.reset();
      const reading = (async () => {
        for await (const _batch of stream);
      })();
      await expect(reading).rejects.toMatchObject({ code: 'unavailable' });
      await expect(source.open(patient())).rejects.toMatchObject({ code: 'unavailable', retryable: true });
      await expect(source.status(patient())).resolves.toMatchObject({ isLearner: false });
      expect(await readAll(source, patient())).toBeGreaterThan(20 * 1024 * 1024);
    });
  });

  it('ignores the proxy of the environment', async () => {
    const before = process.env['https_proxy'];
    process.env['https_proxy'] = 'http://127.0.0.1:9';
    try {
      await expect(withSource(etcd.settings(), (source) => source.status(patient()))).resolves.toBeDefined();
    } finally {
      if (before === undefined) delete process.env['https_proxy'];
      else process.env['https_proxy'] = before;
    }
  });

  it('breaks off when etcd is killed in mid-stream', async () => {
    await using doomed = await startEtcd({ version });
    await doomed.fill(24 * 1024 * 1024);
    await withSource(doomed.settings(), async (source) => {
      const stream = await source.open(patient());
      const reading = (async () => {
        for await (const _batch of stream) {
          doomed.members[0]?.kill('SIGKILL');
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      })();
      await expect(reading).rejects.toMatchObject({ code: 'unavailable' });
    });
  });
});

describe('what is wrong with the connection to etcd is named', () => {
  let etcd: EtcdCluster;
  beforeAll(async () => {
    etcd = await startEtcd();
  });
  afterAll(() => etcd[Symbol.asyncDispose]());

  const status = (settings: Partial<EtcdSettings>) =>
    withSource({ ...etcd.settings(), ...settings }, (source) => source.status(patient()));

  it('an unknown CA', async () => {
    await using dir = await scratchDir();
    const other = await certificateAuthority(dir.path, 'other');
    await expect(status({ caFile: other.caFile })).rejects.toMatchObject({
      code: 'tls',
      hint: expect.stringContaining('--etcd-cafile'),
    });
  });

  it('a client certificate that etcd does not trust', async () => {
    await using dir = await scratchDir();
    const pair = await (await certificateAuthority(dir.path, 'other')).issue('stranger', { client: true });
    await expect(status({ certFile: pair.certFile, keyFile: pair.keyFile })).rejects.toMatchObject({
      code: 'unauthenticated',
      hint: expect.stringContaining('--etcd-certfile'),
    });
  });

  it('no client certificate', async () => {
    await expect(status({ certFile: undefined, keyFile: undefined })).rejects.toMatchObject({
      code: 'unauthenticated',
      hint: expect.stringContaining('--etcd-certfile'),
    });
  });

  it('an expired client certificate', async () => {
    const pair = await etcd.ca?.issue('late', {
      client: true,
      notBefore: new Date('2020-01-01'),
      notAfter: new Date('2021-01-01'),
    });
    await expect(status({ certFile: pair?.certFile, keyFile: pair?.keyFile })).rejects.toMatchObject({
      code: 'tls',
      message: expect.stringContaining('is not valid now'),
      why: expect.stringContaining('2021-01-01'),
    });
  });

  it('a key that does not belong to the certificate', async () => {
    const pair = await etcd.ca?.issue('another', { client: true });
    await expect(status({ keyFile: pair?.keyFile })).rejects.toMatchObject({
      code: 'tls',
      message: '--etcd-keyfile: the key does not belong to the client certificate',
    });
  });

  it('a certificate file that is not there', async () => {
    await expect(status({ certFile: '/nonexistent/client.crt' })).rejects.toMatchObject({
      code: 'tls',
      message: '--etcd-certfile: cannot read /nonexistent/client.crt',
    });
  });

  it('http on the TLS port', async () => {
    const endpoint = (etcd.endpoints[0] ?? '').replace('https:', 'http:');
    await expect(status({ endpoints: [endpoint] })).rejects.toMatchObject({
      hint: expect.stringContaining('--etcd-servers'),
    });
  });

  it('https on a plain port', async () => {
    await using plain = await startEtcd({ tls: false });
    const endpoint = (plain.endpoints[0] ?? '').replace('http:', 'https:');
    await expect(status({ endpoints: [endpoint] })).rejects.toMatchObject({
      code: expect.stringMatching(/^(protocol|unavailable)$/),
      hint: expect.stringContaining('scheme'),
    });
  });

  it('nobody listening', async () => {
    await using front = await startTcpFront('127.0.0.1:1');
    const { endpoint } = front;
    await front[Symbol.asyncDispose]();
    await expect(status({ endpoints: [`https://${endpoint}`] })).rejects.toMatchObject({
      code: 'unavailable',
      why: expect.stringContaining('ECONNREFUSED'),
    });
  });

  it.each([
    ['a server that accepts and never answers', () => createServer(() => undefined)],
    ['a server that answers rubbish', () => createServer((socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n'))],
    ['an HTTP/1 server', () => createHttpServer((_request, response) => response.end('hello')) as Server],
  ])('%s', async (_what, make) => {
    const server = make();
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as AddressInfo;
    try {
      await expect(status({ endpoints: [`http://127.0.0.1:${port}`] })).rejects.toMatchObject({
        code: expect.stringMatching(/^(timeout|protocol|unavailable)$/),
        hint: expect.stringContaining('etcd'),
      });
    } finally {
      server.close();
    }
  });

  it.each([[[]], [['ftp://127.0.0.1']], [['127.0.0.1:2379']]])('the endpoints %j', async (endpoints) => {
    await expect(status({ endpoints })).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining('--etcd-servers'),
    });
  });

  it('a learner', async () => {
    const learner = await etcd.addLearner();
    await expect(status({ endpoints: [learner] })).resolves.toMatchObject({ isLearner: true });
  });
});
