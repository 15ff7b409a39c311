import { createHash } from 'node:crypto';
import { SnapshotError } from '../errors.ts';

/** Bytes of the SHA-256 that etcd appends to the database. */
export const HASH_BYTES = 32;
const PAGE_BYTES = 512;

/** Whether a file of this size can be a snapshot: whole 512-byte pages and the hash behind them. */
export function plausibleSnapshotSize(size: number): boolean {
  return size > HASH_BYTES && size % PAGE_BYTES === HASH_BYTES;
}

/**
 * Checks a snapshot while it streams by, without keeping it: etcd sends the database file and then the SHA-256 of it.
 * The newest 32 bytes are held back (copied: callers may reuse their buffers), since only the end tells which are the hash.
 */
export class IntegrityCheck {
  readonly #hash = createHash('sha256');
  #tail: Uint8Array = new Uint8Array(0);
  #bytes = 0;

  /** Bytes seen so far. */
  get bytes(): number {
    return this.#bytes;
  }

  update(chunks: readonly Uint8Array[]): void {
    const arrived = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    let hashable = Math.max(0, this.#tail.length + arrived - HASH_BYTES);
    const kept: Uint8Array[] = [];
    for (const piece of [this.#tail, ...chunks]) {
      const take = Math.min(piece.length, hashable);
      if (take > 0) this.#hash.update(take === piece.length ? piece : piece.subarray(0, take));
      if (take < piece.length) kept.push(piece.subarray(take));
      hashable -= take;
    }
    this.#tail = Buffer.concat(kept);
    this.#bytes += arrived;
  }

  /**
   * @param announced size in bytes that etcd gave before the first byte
   * @throws SnapshotError `corrupt` when size or hash is not what it must be
   */
  finish(announced: number): void {
    if (this.#bytes !== announced) {
      throw corrupt(`etcd announced ${announced} bytes and sent ${this.#bytes}`);
    }
    const { problem } = this.conclude();
    if (problem !== undefined) throw corrupt(problem);
  }

  /** To be called once, behind the last byte: the hash in hex digits, and why these bytes are no whole snapshot. */
  conclude(): { readonly sha256: string; readonly problem: string | undefined } {
    const stored = Buffer.from(this.#tail).toString('hex');
    const sha256 = this.#hash.digest('hex');
    if (!plausibleSnapshotSize(this.#bytes)) {
      const problem = `${this.#bytes} bytes are not whole ${PAGE_BYTES}-byte pages and a ${HASH_BYTES}-byte hash`;
      return { sha256, problem };
    }
    const problem =
      stored === sha256
        ? undefined
        : `its SHA-256 is ${sha256}, but the one that etcd put behind it is ${stored}`;
    return { sha256, problem };
  }
}

function corrupt(why: string): SnapshotError {
  return new SnapshotError('corrupt', 'The snapshot stream from etcd is damaged', {
    why,
    hint: 'Nothing was kept. Try again; if it happens twice, check the disk and the network of that etcd member.',
    retryable: true,
  });
}
