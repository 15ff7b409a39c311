/**
 * Runs a proof and a work that needs it side by side. What the proof finds wrong is told in its words, not in those of the
 * work, which stops when the proof fails.
 */
export async function sideBySide<T>(
  proof: (signal: AbortSignal) => Promise<T>,
  work: (signal: AbortSignal) => Promise<void>,
  signal: AbortSignal,
): Promise<T> {
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  const [proven, done] = await Promise.allSettled([
    proof(signal).catch((error: unknown) => {
      stop.abort(error);
      throw error;
    }),
    work(either),
  ]);
  if (proven.status === 'rejected') throw proven.reason;
  if (done.status === 'rejected') throw done.reason;
  return proven.value;
}
