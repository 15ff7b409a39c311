const BASE_MS = 5;
const CAP_MS = 300_000;

export interface Backoff {
  /** Wait after the first failure, in milliseconds; 5 unless given. */
  readonly baseMs?: number;
  /** Longest wait, in milliseconds; five minutes unless given. */
  readonly capMs?: number;
}

/**
 * How long to wait after that many failures in a row (from 1; Infinity takes the longest wait): twice as long each time.
 * Between half of it and all of it, by chance, so that what failed together does not come back together.
 *
 * @param random from 0 up to, but not including, 1
 * @returns milliseconds
 */
export function backoffMs(failures: number, random: number, backoff: Backoff = {}): number {
  const { baseMs = BASE_MS, capMs = CAP_MS } = backoff;
  return Math.min(capMs, baseMs * 2 ** (failures - 1)) * (0.5 + random / 2);
}
