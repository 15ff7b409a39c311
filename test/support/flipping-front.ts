import { request as forward } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { certificateAuthority } from './certificates.ts';
import { scratchDir } from './scratch.ts';

export interface FlippingFront extends AsyncDisposable {
  /** `host:port` */
  readonly endpoint: string;
  readonly caFile: string;
  /** How often a body was damaged. */
  readonly flips: number;
}

/** Ends TLS before a plain S3 server, and flips one bit in so many bodies on their way to it: a gateway with bad memory. */
export async function startFlippingFront(target: string, times: number): Promise<FlippingFront> {
  const upstream = new URL(target);
  const scratch = await scratchDir('flip-');
  const ca = await certificateAuthority(scratch.path, 'front');
  const pair = await ca.issue('front');
  let flips = 0;
  const server = createServer({ cert: pair.cert, key: pair.key }, (incoming, outgoing) => {
    const { method, url: path, headers } = incoming;
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.once('end', () => {
      const body = Buffer.concat(chunks);
      if (method === 'PUT' && body.length > 500 && flips < times) {
        flips += 1;
        body.writeUInt8(body.readUInt8(500) ^ 1, 500);
      }
      const sent = { host: upstream.hostname, port: upstream.port, method, path, headers };
      const proxied = forward(sent, (answer) => {
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(outgoing);
      });
      proxied.on('error', () => incoming.socket.destroy());
      proxied.end(body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    endpoint: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    caFile: ca.caFile,
    get flips() {
      return flips;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await scratch[Symbol.asyncDispose]();
    },
  };
}
