import { promisify } from 'node:util';
import { constants, deflateRaw } from 'node:zlib';

const BLOCK_BYTES = 1024 * 1024;
/** Deflate looks back 32 KiB: each block starts with the end of the one before, so nothing is lost by cutting. */
const WINDOW_BYTES = 32 * 1024;
/** Blocks that are being compressed at once: the threads of the pool. */
const IN_FLIGHT = 4;
/** On values of Kubernetes the size differs little from level 6, at more than twice the speed. */
const LEVEL = 1;

const deflate = promisify(deflateRaw) as (
  block: Uint8Array,
  options: { level: number; dictionary?: Uint8Array; finishFlush: number },
) => Promise<Buffer>;

/**
 * One raw deflate stream of the whole input, its blocks compressed side by side on libuv's thread pool.
 * A block ends in a sync flush, so that the outputs, joined, are a single valid stream; the last one finishes it.
 */
export async function* parallelDeflate(
  input: AsyncIterable<readonly Uint8Array[]>,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const pending: Promise<Buffer>[] = [];
  let dictionary: Uint8Array | undefined;
  const begin = (block: Uint8Array, finishFlush: number) => {
    const compressed = deflate(block, {
      level: LEVEL,
      finishFlush,
      ...(dictionary === undefined ? {} : { dictionary }),
    });
    // An earlier block may fail first; then nobody waits for this one.
    void Promise.allSettled([compressed]);
    pending.push(compressed);
    dictionary = block.subarray(Math.max(0, block.length - WINDOW_BYTES));
  };
  for await (const block of inBlocks(input)) {
    signal.throwIfAborted();
    begin(block, constants.Z_SYNC_FLUSH);
    if (pending.length < IN_FLIGHT) continue;
    const oldest = pending.shift();
    if (oldest !== undefined) yield await oldest;
  }
  begin(new Uint8Array(0), constants.Z_FINISH);
  for (const rest of pending) yield await rest;
}

/** Copies into blocks of our own: the slices belong to buffers that the network reuses. */
async function* inBlocks(input: AsyncIterable<readonly Uint8Array[]>): AsyncGenerator<Uint8Array> {
  let block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  let filled = 0;
  for await (const batch of input) {
    for (const slice of batch) {
      let at = 0;
      while (at < slice.length) {
        const taken = Math.min(slice.length - at, BLOCK_BYTES - filled);
        block.set(slice.subarray(at, at + taken), filled);
        at += taken;
        filled += taken;
        if (filled < BLOCK_BYTES) continue;
        yield block;
        block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
        filled = 0;
      }
    }
  }
  if (filled > 0) yield block.subarray(0, filled);
}
