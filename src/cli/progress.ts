import type { SaveProgress } from '../snapshot/save-snapshot.ts';

const REDRAW_MS = 100;
const TELL_MS = 500;

export interface Progress {
  show(progress: SaveProgress): void;
  /** Removes the lines, so that what follows stands alone. */
  clear(): void;
}

interface Line {
  readonly began: number;
  readonly latest: SaveProgress;
}

/** A line each for disk and S3 (bytes, rate, time left) on a terminal, redrawn in place; nothing in a pipe. */
export function createProgress(
  out: NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number },
  now: () => number,
): Progress {
  if (out.isTTY !== true) return { show: () => undefined, clear: () => undefined };
  const lines = new Map<SaveProgress['store'], Line>();
  let drawn = 0;
  let drawnAt = 0;
  const clear = () => {
    if (drawn > 0) out.write(`\u001b[${drawn}A\u001b[J`);
    drawn = 0;
  };
  return {
    show(latest) {
      const before = lines.get(latest.store);
      lines.set(latest.store, { began: before?.began ?? now(), latest });
      if (now() - drawnAt < REDRAW_MS && before !== undefined) return;
      drawnAt = now();
      clear();
      // A line that wraps could not be cleared again. Some terminals do not know their width, and say 0.
      const width = (out.columns || 80) - 1;
      for (const line of lines.values()) out.write(`${formatLine(line, now()).slice(0, width)}\n`);
      drawn = lines.size;
    },
    clear,
  };
}

/**
 * A JSON object per line, for programs: at the beginning and the end of each copy, and twice a second between. Of a copy whose
 * size nobody knows beforehand the end is what was last, told when the lines are cleared.
 */
export function createJsonProgress(write: (line: string) => void, now: () => number): Progress {
  const toldAt = new Map<SaveProgress['store'], number>();
  const untold = new Map<SaveProgress['store'], SaveProgress>();
  const tell = ({ store, bytes, total }: SaveProgress) => {
    toldAt.set(store, now());
    untold.delete(store);
    const time = new Date(now()).toISOString();
    const progress = { store, bytes, ...(total === undefined ? {} : { total }) };
    write(`${JSON.stringify({ level: 'info', time, msg: 'Progress', progress })}\n`);
  };
  return {
    show(latest) {
      const last = toldAt.get(latest.store);
      if (last !== undefined && now() - last < TELL_MS && latest.bytes !== latest.total)
        untold.set(latest.store, latest);
      else tell(latest);
    },
    clear() {
      for (const latest of untold.values()) tell(latest);
    },
  };
}

function formatLine({ began, latest: { store, bytes, total } }: Line, now: number): string {
  const rate = bytes / Math.max(0.001, (now - began) / 1000);
  const label = store === 'local' ? 'disk' : 'S3  ';
  const speed = `${megabytes(rate)}/s`;
  if (total === undefined) return `${label} ${megabytes(bytes)}, ${speed}`;
  const left = rate > 0 ? Math.max(0, Math.ceil((total - bytes) / rate)) : 0;
  const percent = total > 0 ? Math.min(100, Math.floor((bytes / total) * 100)) : 0;
  return `${label} ${megabytes(bytes)} of ${megabytes(total)} (${percent} %), ${speed}, ${left} s left`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
