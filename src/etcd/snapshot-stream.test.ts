import { createHash } from 'node:crypto';
import { getEventListeners } from 'node:events';
import { createServer, type ServerHttp2Stream } from 'node:http2';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { listening } from '../../test/support/http2-server.ts';
import { snapshotMessage } from '../../test/support/snapshot-message.ts';
import type { SnapshotStream } from '../snapshot/ports.ts';
import { EtcdSession } from './etcd-session.ts';
import { openSnapshotStream } from './snapshot-stream.ts';

const MIB = 1024 * 1024;
const STALL = 30_000;
const never = new AbortController().signal;
const first = snapshotMessage({ remaining: 3 * MIB, blob: Buffer.alloc(100) });

/** A member that answers each call as the test says, and a connection to it. */
async function member(answer: (call: ServerHttp2Stream) => void) {
  const calls: ServerHttp2Stream[] = [];
  const server = createServer().on('stream', (call) => {
    calls.push(call);
    call.on('error', () => undefined);
    answer(call);
  });
  const running = await listening(server);
  const url = new URL(`http://127.0.0.1:${running.port}`);
  const session = await EtcdSession.connect({ url, secureContext: undefined }, never);
  return {
    session,
    calls,
    async [Symbol.asyncDispose]() {
      session.close();
      await running[Symbol.asyncDispose]();
    },
  };
}

function send(call: ServerHttp2Stream, ...messages: readonly Buffer[]): void {
  if (!call.headersSent) {
    call.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  }
  for (const message of messages) call.write(message);
}

function end(call: ServerHttp2Stream, trailers: Record<string, string>): void {
  call.once('wantTrailers', () => call.sendTrailers(trailers));
  call.end();
}

async function read(stream: SnapshotStream): Promise<number> {
  let bytes = 0;
  for await (const batch of stream) for (const slice of batch) bytes += slice.length;
  return bytes;
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}

describe('the stream of a snapshot', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('ends with what etcd sent, when etcd says that this is all', async () => {
    await using etcd = await member((call) => {
      send(call, first);
      end(call, { 'grpc-status': '0' });
    });
    const { signal } = new AbortController();
    const stream = await openSnapshotStream(etcd.session, signal);
    expect(stream.size).toBeGreaterThan(3 * MIB);
    expect(await read(stream)).toBe(100);
    expect(getEventListeners(signal, 'abort')).toEqual([]);
    // The pings of the connection.
    expect(vi.getTimerCount()).toBe(1);
  });

  it('gives the memory of a batch back when the next but one is asked for, and nothing of what is still to be read', async () => {
    // Small messages, so that buffers of the connection hold parts of two batches.
    const blobs = Array.from({ length: 8 * 160 }, (_, at) => Buffer.alloc(6_553, at % 251));
    await using etcd = await member((call) => {
      send(call, ...blobs.map((blob) => snapshotMessage({ blob })));
      end(call, { 'grpc-status': '0' });
    });
    const stream = await openSnapshotStream(etcd.session, never);
    const hash = createHash('sha256');
    const batches: (readonly Uint8Array[])[] = [];
    const isGone = (slice: Uint8Array) => slice.length === 0;
    for await (const batch of stream) {
      // As late as a reader may read it: the batch after it is here already.
      for (const slice of batches.at(-1) ?? []) hash.update(slice);
      batches.push(batch);
      expect(batches.slice(-2).flat().some(isGone)).toBe(false);
    }
    for (const slice of batches.at(-1) ?? []) hash.update(slice);
    expect(hash.digest('hex')).toBe(createHash('sha256').update(Buffer.concat(blobs)).digest('hex'));
    const [first = []] = batches;
    expect(first.filter(isGone).length).toBeGreaterThan(first.length / 2);
  });

  it('breaks off when etcd sends nothing more for 30 s', async () => {
    await using etcd = await member((call) => send(call, first));
    const stream = await openSnapshotStream(etcd.session, never);
    const broken = expect(read(stream)).rejects.toMatchObject({
      code: 'timeout',
      message: 'The snapshot stream of etcd broke off',
      retryable: true,
    });
    await vi.advanceTimersByTimeAsync(STALL - 1);
    expect(etcd.calls[0]?.closed).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    await broken;
    await until(() => etcd.calls[0]?.closed === true);
  });

  it('breaks off when etcd does not even begin', async () => {
    await using etcd = await member(() => undefined);
    const opened = expect(openSnapshotStream(etcd.session, never)).rejects.toMatchObject({ code: 'timeout' });
    await until(() => etcd.calls.length === 1);
    await vi.advanceTimersByTimeAsync(STALL);
    await opened;
  });

  // Shorter than the time of a ping, which does not stand still either.
  const SHORT = 1_000;

  it('gives etcd all the time again with each byte', async () => {
    await using etcd = await member((call) => send(call, first));
    const stream = await openSnapshotStream(etcd.session, never, SHORT);
    const batches = stream[Symbol.asyncIterator]();
    for (let round = 0; round < 3; round += 1) {
      const next = batches.next();
      await vi.advanceTimersByTimeAsync(SHORT - 1);
      etcd.calls[0]?.write(snapshotMessage({ blob: Buffer.alloc(MIB) }));
      expect(await next).toMatchObject({ done: false });
    }
  });

  it('does not blame etcd for a reader that takes its time', async () => {
    const message = snapshotMessage({ blob: Buffer.alloc(MIB) });
    await using etcd = await member((call) => {
      send(call, first, message, message, message, message);
      end(call, { 'grpc-status': '0' });
    });
    const opened = vi.spyOn(etcd.session, 'call');
    const stream = await openSnapshotStream(etcd.session, never, SHORT);
    await until(() => opened.mock.results[0]?.value.isPaused());
    await vi.advanceTimersByTimeAsync(20 * SHORT);
    expect(await read(stream)).toBe(4 * MIB + 100);
  });

  it.each([
    { when: 'before the first message', messages: [] },
    { when: 'in mid-stream', messages: [first] },
  ])('is cancelled at etcd when the caller gives up $when', async ({ messages }) => {
    const abort = new AbortController();
    await using etcd = await member((call) => send(call, ...messages));
    const reading = openSnapshotStream(etcd.session, abort.signal).then(read);
    await until(() => etcd.calls.length === 1);
    abort.abort();
    await expect(reading).rejects.toMatchObject({ code: 'aborted' });
    await until(() => etcd.calls[0]?.closed === true);
    expect(getEventListeners(abort.signal, 'abort')).toEqual([]);
    expect(vi.getTimerCount()).toBe(1);
  });

  it('is never asked for when the caller has given up before', async () => {
    await using etcd = await member((call) => send(call, first));
    await expect(openSnapshotStream(etcd.session, AbortSignal.abort())).rejects.toMatchObject({
      code: 'aborted',
    });
  });

  it('is cancelled at etcd when it is not read to its end', async () => {
    await using etcd = await member((call) =>
      send(call, snapshotMessage({ remaining: MIB, blob: Buffer.alloc(MIB) })),
    );
    const stream = await openSnapshotStream(etcd.session, never);
    for await (const _batch of stream) break;
    await until(() => etcd.calls[0]?.closed === true);
  });

  it.each<[string, (call: ServerHttp2Stream) => void, object]>([
    ['without trailers', (call) => end(call, {}), { code: 'unavailable', retryable: true }],
    [
      'with the trailers of a failure',
      (call) => end(call, { 'grpc-status': '14', 'grpc-message': 'shutting down' }),
      { code: 'unavailable', why: expect.stringContaining('shutting down') },
    ],
    [
      'in the middle of a message, though etcd says that this is all',
      (call) => {
        call.write(first.subarray(0, 50));
        end(call, { 'grpc-status': '0' });
      },
      { code: 'protocol', why: expect.stringContaining('in the middle of a message') },
    ],
  ])('is not whole when it ends %s', async (_how, finish, expected) => {
    await using etcd = await member((call) => {
      send(call, first);
      finish(call);
    });
    const stream = await openSnapshotStream(etcd.session, never);
    await expect(read(stream)).rejects.toMatchObject(expected);
  });
});
