export interface ReconcileResult {
  /** Look again after this many milliseconds, although nothing went wrong. */
  readonly requeueAfterMs?: number;
}

/**
 * Makes true what should be true of one key. It is told neither what changed nor how often: it looks, plans and acts, and
 * doing it twice is doing it once. A throw asks for another try later.
 */
export type Reconcile = (key: string, signal: AbortSignal) => Promise<ReconcileResult | undefined>;
