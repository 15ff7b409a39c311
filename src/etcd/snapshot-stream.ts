import type { ClientHttp2Stream } from 'node:http2';
import { abortError, SnapshotError } from '../errors.ts';
import type { SnapshotStream } from '../snapshot/ports.ts';
import { timedOut } from './etcd-errors.ts';
import { CallOutcome, type EtcdSession } from './etcd-session.ts';
import { SnapshotFrames } from './snapshot-frames.ts';

const SNAPSHOT = '/etcdserverpb.Maintenance/Snapshot';
const DOING = 'The snapshot stream of etcd broke off';
/** Batches of this size keep the count of write calls low. */
const BATCH_BYTES = 1024 * 1024;
/** Above this, etcd has to wait for the disk; memory stays bounded. */
const PAUSE_ABOVE_BYTES = 2 * 1024 * 1024;
/** No byte for this long, although we are reading: the member hangs. */
const STALL_MS = 30_000;

/**
 * Starts Maintenance.Snapshot and waits for the first message, which tells the size.
 * @throws SnapshotError
 */
export async function openSnapshotStream(
  session: EtcdSession,
  signal: AbortSignal,
  stallMs = STALL_MS,
): Promise<SnapshotStream> {
  const call = new SnapshotCall(session, signal, stallMs);
  const size = await call.announced();
  return { size, [Symbol.asyncIterator]: () => call.batches() };
}

class SnapshotCall {
  readonly #session: EtcdSession;
  readonly #stream: ClientHttp2Stream;
  readonly #outcome: CallOutcome;
  readonly #frames = new SnapshotFrames();
  readonly #signal: AbortSignal;
  readonly #stall: NodeJS.Timeout;
  #queue: Uint8Array[] = [];
  #queued = 0;
  #ended = false;
  #error: Error | undefined;
  /** Wakes whoever waits for bytes, the end or an error. */
  #wake: () => void = () => undefined;

  constructor(session: EtcdSession, signal: AbortSignal, stallMs: number) {
    this.#session = session;
    this.#signal = signal;
    this.#stream = session.call(SNAPSHOT);
    this.#outcome = new CallOutcome(DOING, this.#stream);
    this.#stall = setTimeout(() => {
      if (this.#stream.isPaused()) this.#stall.refresh();
      else this.#fail(timedOut(DOING, stallMs));
    }, stallMs);
    this.#stream.on('data', (chunk: Buffer) => this.#take(chunk));
    this.#stream.once('end', () => this.#finish());
    this.#stream.once('error', (error) => this.#fail(session.failure(DOING, error)));
    this.#stream.once('close', () => this.#fail(session.failure(DOING, new Error('the stream was closed'))));
    signal.addEventListener('abort', this.#abort, { once: true });
    if (signal.aborted) this.#abort();
  }

  async announced(): Promise<number> {
    while (this.#frames.announced === undefined) {
      if (this.#error !== undefined) throw this.#error;
      if (this.#ended) throw this.#emptyStream();
      await this.#change();
    }
    return this.#frames.announced;
  }

  async *batches(): AsyncGenerator<readonly Uint8Array[]> {
    let before: readonly Uint8Array[] = [];
    try {
      for (;;) {
        if (this.#error !== undefined) throw this.#error;
        if (this.#queued >= BATCH_BYTES || (this.#ended && this.#queued > 0)) {
          const batch = this.#queue;
          this.#queue = [];
          this.#queued = 0;
          this.#stream.resume();
          yield batch;
          // Whoever asks for more may be busy with this batch, but is done with the one before it.
          free(before, batch[0]?.buffer);
          before = batch;
        } else if (this.#ended) {
          return;
        } else {
          await this.#change();
        }
      }
    } finally {
      this.#fail(new SnapshotError('aborted', 'The snapshot was not read to its end'));
    }
  }

  readonly #abort = (): void => this.#fail(abortError(this.#signal));

  #take(chunk: Buffer): void {
    this.#stall.refresh();
    try {
      this.#frames.push(chunk, (slice) => {
        this.#queue.push(slice);
        this.#queued += slice.length;
      });
    } catch (error) {
      this.#fail(this.#session.failure(DOING, error instanceof Error ? error : new Error(String(error))));
    }
    if (this.#queued > PAUSE_ABOVE_BYTES) this.#stream.pause();
    this.#wake();
  }

  /** Trailers come before `end`; a stream without them, or cut inside a message, is not whole. */
  #finish(): void {
    if (this.#error !== undefined) return;
    try {
      this.#outcome.check();
      if (!this.#frames.atBoundary) throw this.#emptyStream();
      this.#ended = true;
      this.#release();
      this.#wake();
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #fail(error: Error): void {
    if (this.#ended || this.#error !== undefined) return;
    this.#error = error;
    this.#queue = [];
    this.#queued = 0;
    this.#release();
    this.#stream.destroy();
    this.#wake();
  }

  #release(): void {
    clearTimeout(this.#stall);
    this.#signal.removeEventListener('abort', this.#abort);
  }

  #change(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    return promise;
  }

  #emptyStream(): SnapshotError {
    return new SnapshotError('protocol', DOING, {
      why: 'it ended in the middle of a message or without one',
      hint: 'Check that --etcd-servers names the client port of an etcd member.',
    });
  }
}

/**
 * Gives memory back at once. The collector sees only small objects and lets 10 to 30 MB of what they stand for pile up; see ADR 105.
 * @param next the buffer of the slice behind these: of that one, parts are still to be read
 */
function free(slices: readonly Uint8Array[], next: ArrayBufferLike | undefined): void {
  for (const { buffer } of slices) {
    if (buffer instanceof ArrayBuffer && !buffer.detached && buffer !== next) buffer.transfer(0);
  }
}
