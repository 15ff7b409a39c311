import { once } from 'node:events';
import { connect, createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { PassThrough, Transform } from 'node:stream';

/** What happens to the answer of a call: its messages come damaged, but the call itself ends well. */
export type GrpcFault =
  /** One bit of these bytes is turned, the first time that they pass. */
  | { readonly flip: Buffer }
  /** After so many bytes no message is passed on any more. */
  | { readonly dropAfter: number };

export interface GrpcFront extends AsyncDisposable {
  /** `http://host:port` */
  readonly url: string;
}

/** A gRPC proxy before an etcd without TLS, for faults that neither HTTP/2 nor gRPC notices; only snapshots suffer them. */
export async function startGrpcFront(target: string, fault: GrpcFault): Promise<GrpcFront> {
  const upstream = connect(target);
  // Whoever waits for a call sees that it failed.
  upstream.on('error', () => upstream.destroy());
  const server = createServer();
  server.on('stream', (down: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    const up = upstream.request(headers);
    let trailers: IncomingHttpHeaders = {};
    for (const side of [down, up]) side.on('error', () => side.destroy());
    down.once('close', () => up.destroy());
    up.once('trailers', (last) => {
      trailers = last;
    });
    up.once('response', (answer) => down.respond(answer, { waitForTrailers: true }));
    down.once('wantTrailers', () => down.sendTrailers(trailers));
    down.pipe(up);
    const spoilt = headers[':path']?.endsWith('/Snapshot') === true;
    up.pipe(spoilt ? spoil(fault) : new PassThrough()).pipe(down);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      upstream.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function spoil(fault: GrpcFault): Transform {
  return 'flip' in fault ? turnOneBit(fault.flip) : dropMessages(fault.dropAfter);
}

function turnOneBit(bytes: Buffer): Transform {
  let done = false;
  return new Transform({
    transform(chunk: Buffer, _encoding, passOn) {
      const at = done ? -1 : chunk.indexOf(bytes);
      if (at !== -1) {
        chunk[at] = (chunk[at] ?? 0) ^ 1;
        done = true;
      }
      passOn(null, chunk);
    },
  });
}

/** Only whole messages are dropped: one that is cut in two would be noticed. */
function dropMessages(afterBytes: number): Transform {
  let left = afterBytes;
  let pending = Buffer.alloc(0);
  return new Transform({
    transform(chunk: Buffer, _encoding, passOn) {
      if (left > 0) pending = Buffer.concat([pending, chunk]);
      while (left > 0 && pending.length >= 5 && pending.length >= 5 + pending.readUInt32BE(1)) {
        const end = 5 + pending.readUInt32BE(1);
        this.push(pending.subarray(0, end));
        pending = pending.subarray(end);
        left -= end;
      }
      passOn();
    },
  });
}
