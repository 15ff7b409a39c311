import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { someBytes } from './growing-bytes.ts';

/** As of five parts that were cut in ways of its own. */
const STRANGE = `"${'0123456789abcdef'.repeat(2)}-5"`;

/** A database of so many pages and its hash behind it, as etcd sends it. */
export function soundSnapshot(pages: number): Buffer {
  const database = someBytes(pages * 512);
  return Buffer.concat([database, createHash('sha256').update(database).digest()]);
}

export interface ObjectS3 extends AsyncDisposable {
  readonly endpoint: string;
  /** Requests for bytes so far. */
  gets(): number;
}

/**
 * A server that keeps one object, whatever it is asked for, of five parts and under an ETag of its own making.
 * @param damage of the bytes of an answer, by how many there were
 */
export async function startObjectS3(
  content: Buffer,
  damage: (bytes: Buffer, request: number) => Buffer = (bytes) => bytes,
): Promise<ObjectS3> {
  let gets = 0;
  const server = createServer(({ url = '', method, headers: { range } }, response) => {
    const headers = { etag: STRANGE, 'content-length': String(content.length) };
    if (method === 'HEAD') {
      const length = url.includes('partNumber=1') ? Math.ceil(content.length / 5) : content.length;
      response.writeHead(200, { ...headers, 'content-length': String(length) }).end();
      return;
    }
    // Nothing is known of it besides.
    if (range === undefined) {
      response.writeHead(404).end();
      return;
    }
    const [, start = '', end = ''] = /^bytes=(\d+)-(\d+)$/.exec(range) ?? [];
    gets += 1;
    const bytes = damage(content.subarray(Number(start), Number(end) + 1), gets);
    const contentRange = `bytes ${start}-${end}/${content.length}`;
    response
      .writeHead(206, { ...headers, 'content-length': String(bytes.length), 'content-range': contentRange })
      .end(bytes);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    endpoint: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    gets: () => gets,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
    },
  };
}
