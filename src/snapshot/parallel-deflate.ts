import { constants, crc32, deflateRaw } from 'node:zlib';
import { abortError } from '../errors.ts';

/** Bytes that one call of zlib compresses. */
export const BLOCK_BYTES = 1024 * 1024;
/** How far back deflate can refer, as powers of two: its whole 32 KiB, or half of them, a quarter faster where little repeats. */
const WIDE = 15;
const NARROW = 14;
/** The narrow window is taken where it costs no more than this; which it is, one block in so many is compressed twice to see. */
const BEARABLE_GROWTH = 1.01;
const TRIAL_EVERY = 32;
/** Node's thread pool has four threads by default: more calls would only wait, and hold memory. */
const IN_FLIGHT = 4;

interface DeflatedBlock {
  readonly bytes: Buffer;
  /** Set by a trial: what serves the blocks after it. */
  readonly better?: number;
}

export interface DeflateTotals {
  crc: number;
  /** Bytes read. */
  size: number;
  /** Bytes yielded. */
  compressedSize: number;
}

/**
 * Compresses blocks side by side into one raw deflate stream: each block ends on a byte border (sync flush) and starts
 * with the end of the block before it as its dictionary, so joined outputs decompress as if they were made in one go.
 * Input is copied before the next batch is asked for. `totals` is filled in as the stream goes, and final at its end.
 */
export async function* parallelDeflate(
  input: AsyncIterable<readonly Uint8Array[]>,
  totals: DeflateTotals,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const idle: Buffer<ArrayBuffer>[] = [];
  const pending: Promise<DeflatedBlock>[] = [];
  let started = 0;
  let windowBits = WIDE;
  let dictionary = Buffer.alloc(0);
  let block = Buffer.allocUnsafe(BLOCK_BYTES);
  let filled = 0;

  const start = (last: boolean): void => {
    const full = block;
    const bytes = full.subarray(0, filled);
    totals.crc = crc32(bytes, totals.crc);
    totals.size += filled;
    const job =
      started % TRIAL_EVERY === 0
        ? deflateTwice(bytes, dictionary, last)
        : deflateBlock(bytes, dictionary, last, windowBits);
    started += 1;
    // Whoever awaits the job sees its failure; the others of an abandoned stream must not count as unhandled.
    job.then(
      () => idle.push(full),
      () => undefined,
    );
    pending.push(job);
    dictionary = Buffer.from(bytes.subarray(Math.max(0, filled - (1 << WIDE))));
    block = idle.pop() ?? Buffer.allocUnsafe(BLOCK_BYTES);
    filled = 0;
  };
  const finished = async (): Promise<Buffer> => {
    const done = await pending.shift();
    if (signal.aborted) throw abortError(signal);
    if (done === undefined) return Buffer.alloc(0);
    const { bytes } = done;
    windowBits = done.better ?? windowBits;
    totals.compressedSize += bytes.length;
    return bytes;
  };

  for await (const chunks of untilAborted(input, signal)) {
    for (const chunk of chunks) {
      let taken = 0;
      while (taken < chunk.length) {
        // A full block waits for the next byte: only then is it known not to be the last one.
        if (filled === BLOCK_BYTES) {
          while (pending.length >= IN_FLIGHT) yield await finished();
          start(false);
        }
        const part = chunk.subarray(taken, taken + BLOCK_BYTES - filled);
        block.set(part, filled);
        filled += part.length;
        taken += part.length;
      }
    }
  }
  start(true);
  while (pending.length > 0) yield await finished();
}

/** With the window that serves these bytes best; the blocks after them are taken to be alike. */
async function deflateTwice(bytes: Buffer, dictionary: Buffer, last: boolean): Promise<DeflatedBlock> {
  const [wide, narrow] = await Promise.all([
    deflateBlock(bytes, dictionary, last, WIDE),
    deflateBlock(bytes, dictionary, last, NARROW),
  ]);
  return narrow.bytes.length <= wide.bytes.length * BEARABLE_GROWTH
    ? { ...narrow, better: NARROW }
    : { ...wide, better: WIDE };
}

function deflateBlock(
  bytes: Buffer,
  dictionary: Buffer,
  last: boolean,
  windowBits: number,
): Promise<DeflatedBlock> {
  const options = {
    level: 1,
    windowBits,
    // A larger table finds its strings faster: a third more bytes per second than with the default, and none more at the end.
    memLevel: 9,
    // Half a block: what a snapshot comes to fits, so a block is one turn in the thread pool.
    chunkSize: BLOCK_BYTES / 2,
    finishFlush: last ? constants.Z_FINISH : constants.Z_SYNC_FLUSH,
    ...(dictionary.length === 0 ? {} : { dictionary }),
  };
  return new Promise((resolve, reject) => {
    deflateRaw(bytes, options, (error, result) => {
      if (error === null) resolve({ bytes: result });
      else reject(error);
    });
  });
}

/** Passes `input` on, stops waiting for it when the signal fires, and tells it when nobody wants more. */
async function* untilAborted<T>(input: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  const iterator = input[Symbol.asyncIterator]();
  let ended = false;
  try {
    for (;;) {
      const next = await nextOf(iterator, signal).catch((error: unknown) => {
        // A source that failed has ended itself; one that hangs must be told.
        ended = !signal.aborted;
        throw error;
      });
      ended = next.done === true;
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    if (!ended) {
      const closing = Promise.allSettled([iterator.return?.()]);
      // A source that hangs may never answer.
      if (!signal.aborted) await closing;
    }
  }
}

/**
 * A listener per step, and no promise of the abort that lives as long as the stream: whatever is raced against one is kept
 * by it until the end, here the whole snapshot.
 */
function nextOf<T>(iterator: AsyncIterator<T>, signal: AbortSignal): Promise<IteratorResult<T>> {
  if (signal.aborted) return Promise.reject(abortError(signal));
  const { promise, resolve, reject } = Promise.withResolvers<IteratorResult<T>>();
  const onAbort = () => reject(abortError(signal));
  signal.addEventListener('abort', onAbort, { once: true });
  const done = () => signal.removeEventListener('abort', onAbort);
  iterator.next().then(
    (next) => {
      done();
      resolve(next);
    },
    (error: unknown) => {
      done();
      reject(error);
    },
  );
  return promise;
}
