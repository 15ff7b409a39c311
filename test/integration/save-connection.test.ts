import { once } from 'node:events';
import { chmod, copyFile, writeFile } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { certificateAuthority } from '../support/certificates.ts';
import { type EtcdCluster, startEtcd } from '../support/etcd-server.ts';
import { freePorts } from '../support/processes.ts';
import { type SaveScene, saveScene } from '../support/save-scene.ts';
import { startTcpFront } from '../support/tcp-front.ts';

/** Root without its right to read and write everything: what a file's mode says then holds for it too. */
const unprivileged = ['setpriv', '--bounding-set=-dac_override,-dac_read_search'];

let etcd: EtcdCluster;
beforeAll(async () => {
  etcd = await startEtcd();
});
afterAll(() => etcd?.[Symbol.asyncDispose]());

interface Fault {
  readonly what: string;
  /** The flags that bring it about. */
  flags(scene: SaveScene): Promise<readonly string[]>;
  readonly says: readonly (RegExp | string)[];
  readonly wrapper?: readonly string[];
}

const expired = { notBefore: new Date('2020-01-01'), notAfter: new Date('2021-01-01') };
const pairFlags = (pair: { certFile: string; keyFile: string }) => [
  `--etcd-certfile=${pair.certFile}`,
  `--etcd-keyfile=${pair.keyFile}`,
];

async function expectFailure(fault: Fault): Promise<void> {
  await using scene = await saveScene({ etcd: etcd.settings() });
  const result = await scene.run(await fault.flags(scene), fault.wrapper);
  await scene.aftermath(result, { code: 1, local: 0, says: fault.says });
}

describe('certificates for etcd', () => {
  const faults: readonly Fault[] = [
    {
      what: 'a CA that did not sign the certificate of etcd',
      flags: async ({ scratch }) => [
        `--etcd-cafile=${(await certificateAuthority(scratch, 'other')).caFile}`,
      ],
      says: ['is not signed by a CA that is trusted here', 'Give --etcd-cafile the CA'],
    },
    {
      what: 'a client certificate of a CA that etcd does not trust',
      flags: async ({ scratch }) =>
        pairFlags(await (await certificateAuthority(scratch, 'other')).issue('stranger', { client: true })),
      says: ['wants a client certificate', 'Give --etcd-certfile and --etcd-keyfile'],
    },
    {
      what: 'a client certificate that has expired',
      flags: async () => pairFlags(await etcd.ca.issue('late', { client: true, ...expired })),
      says: ['is not valid now', '2021-01-01', 'Renew the certificate'],
    },
    {
      what: 'a key of another certificate',
      flags: async () => [
        ...pairFlags({
          certFile: etcd.settings().certFile ?? '',
          keyFile: (await etcd.ca.issue('another', { client: true })).keyFile,
        }),
      ],
      says: ['is the key of another certificate', 'the two files of one certificate'],
    },
    {
      what: 'a certificate file that is missing',
      flags: async () => pairFlags({ ...readable(), certFile: '/nonexistent/client.crt' }),
      says: ['/nonexistent/client.crt', 'there is no such file', 'Set --etcd-certfile'],
    },
    {
      what: 'a certificate file that holds something else',
      flags: async ({ scratch }) => {
        const certFile = join(scratch, 'client.crt');
        await writeFile(certFile, 'no certificate');
        return pairFlags({ ...readable(), certFile });
      },
      says: ['holds no certificate', 'Give a PEM file'],
    },
    {
      what: 'a key file that holds something else',
      flags: async ({ scratch }) => {
        const keyFile = join(scratch, 'client.key');
        await writeFile(keyFile, 'no key');
        return pairFlags({ ...readable(), keyFile });
      },
      says: ['holds no key that can be read', 'Give a PEM file with the key'],
    },
    {
      what: 'a key file that this user may not read',
      flags: async ({ scratch }) => {
        const keyFile = join(scratch, 'client.key');
        await copyFile(readable().keyFile, keyFile);
        await chmod(keyFile, 0o000);
        return pairFlags({ ...readable(), keyFile });
      },
      says: ['--etcd-keyfile: cannot read', 'EACCES', 'Run as a user who may read the keys'],
      wrapper: unprivileged,
    },
  ];
  it.each(faults)('$what', expectFailure);

  const readable = () => ({
    certFile: etcd.settings().certFile ?? '',
    keyFile: etcd.settings().keyFile ?? '',
  });

  it('a server certificate that has expired', async () => {
    const { cert, key } = await etcd.ca.issue('old', expired);
    await withServer(createTlsServer({ cert, key, ALPNProtocols: ['h2'] }), 'https', {
      says: ['CERT_HAS_EXPIRED', 'The certificate of etcd has expired: renew it'],
    });
  });

  it('a server certificate of another host', async () => {
    const { cert, key } = await etcd.ca.issue('elsewhere', { hosts: ['etcd.example.com'] });
    await withServer(createTlsServer({ cert, key, ALPNProtocols: ['h2'] }), 'https', {
      says: ['ERR_TLS_CERT_ALTNAME_INVALID', 'Use a host name or address in --etcd-servers'],
    });
  });
});

describe('an endpoint that', () => {
  const faults: readonly Fault[] = [
    {
      what: 'speaks TLS, and is asked over plain http',
      flags: async () => [`--etcd-servers=${(etcd.endpoints[0] ?? '').replace('https:', 'http:')}`],
      says: ['Cannot connect to etcd at http://', /do: .*--etcd-servers.*https/],
    },
    {
      what: 'refuses the connection',
      flags: async () => [`--etcd-servers=https://127.0.0.1:${(await freePorts(1))[0]}`],
      says: ['ECONNREFUSED', 'Check that etcd runs and listens there'],
    },
    {
      what: 'has no name that can be resolved',
      flags: async () => ['--etcd-servers=https://no-such-host.invalid:2379'],
      says: [/ENOTFOUND|EAI_AGAIN/, /host name in --etcd-servers|check DNS/],
    },
  ];
  it.each(faults)('$what', expectFailure);

  it('speaks plain http, and is asked over TLS', async () => {
    await using plain = await startEtcd({ tls: false });
    const endpoint = (plain.endpoints[0] ?? '').replace('http:', 'https:');
    await expectFailure({
      what: '',
      flags: async () => [`--etcd-servers=${endpoint}`],
      says: [/do: .* scheme .*--etcd-servers/],
    });
  });

  it('accepts and never answers', async () => {
    await using front = await startTcpFront(new URL(etcd.endpoints[0] ?? '').host);
    front.hang();
    await expectFailure({
      what: '',
      flags: async () => [`--etcd-servers=https://${front.endpoint}`],
      says: ['no answer within 5 s', 'Check that the etcd member is healthy'],
    });
  });

  it.each([
    {
      what: 'answers rubbish',
      server: () => createServer((socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n')),
    },
    {
      what: 'is a web server',
      server: () => createHttpServer((_request, answer) => answer.end('hello')) as Server,
    },
  ])('$what', async ({ server }) => {
    await withServer(server(), 'http', {
      says: ['Cannot connect to etcd at http://', /do: .*--etcd-servers/],
    });
  });
});

/** A save whose etcd is that server. */
async function withServer(
  server: Server,
  scheme: 'http' | 'https',
  { says }: { says: Fault['says'] },
): Promise<void> {
  // Clients that break off are what these servers are for.
  server.on('connection', (socket) => socket.on('error', () => socket.destroy()));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const endpoint = `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    await expectFailure({ what: '', flags: async () => [`--etcd-servers=${endpoint}`], says });
  } finally {
    server.close();
  }
}
