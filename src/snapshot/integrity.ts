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
 * The last 32 bytes seen are held back from the hash, since only the end tells which those are.
 */
export class IntegrityCheck {
  readonly #hash = createHash('sha256');
  /** Newest slices, not hashed yet: together at least 32 bytes once that many were seen. */
  #tail: Uint8Array[] = [];
  #tailBytes = 0;
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  update(chunks: readonly Uint8Array[]): void {
    for (const chunk of chunks) {
      if (chunk.length === 0) continue;
      this.#bytes += chunk.length;
      this.#tail.push(chunk);
      this.#tailBytes += chunk.length;
      while (this.#tailBytes - (this.#tail[0]?.length ?? 0) >= HASH_BYTES) {
        const oldest = this.#tail.shift();
        if (oldest === undefined) break;
        this.#tailBytes -= oldest.length;
        this.#hash.update(oldest);
      }
    }
    this.#tail = this.#detachTail();
  }

  /**
   * @param announced size in bytes that etcd gave before the first byte
   * @throws SnapshotError `corrupt` when size or hash is not what it must be
   */
  finish(announced: number): void {
    if (this.#bytes !== announced) {
      throw corrupt(`etcd announced ${announced} bytes and sent ${this.#bytes}`);
    }
    if (!plausibleSnapshotSize(this.#bytes)) {
      throw corrupt(`${this.#bytes} bytes are not whole ${PAGE_BYTES}-byte pages and a ${HASH_BYTES}-byte hash`);
    }
    const rest = Buffer.concat(this.#tail);
    this.#hash.update(rest.subarray(0, rest.length - HASH_BYTES));
    const sent = rest.subarray(rest.length - HASH_BYTES).toString('hex');
    const computed = this.#hash.digest('hex');
    if (sent !== computed) throw corrupt(`its SHA-256 is ${computed}, but etcd sent ${sent}`);
  }

  /** The caller may reuse its buffers after `update`, so what is held back is copied; it is a slice or two. */
  #detachTail(): Uint8Array[] {
    if (this.#tailBytes === 0) return [];
    const joined = Buffer.concat(this.#tail);
    const cut = Math.max(0, joined.length - HASH_BYTES);
    if (cut > 0) this.#hash.update(joined.subarray(0, cut));
    const kept = Buffer.from(joined.subarray(cut));
    this.#tailBytes = kept.length;
    return [kept];
  }
}

function corrupt(why: string): SnapshotError {
  return new SnapshotError('corrupt', 'The snapshot stream from etcd is damaged', {
    why,
    hint: 'Nothing was kept. Try again; if it happens twice, check the disk and the network of that etcd member.',
    retryable: true,
  });
}
