import { parseCreatedAt, uncompressedName } from './naming.ts';

/** A clock that is put right a little may be behind the name of what was just saved. */
const TOLERANCE_MS = 300_000;

/**
 * When a snapshot of that schedule was last taken on that node, as the names say: `<base>-<node>-<seconds>`, with or without
 * `.zip`. A name of a time that has not come yet was given by a clock that was wrong, and tells nothing.
 */
export function lastScheduled(
  names: Iterable<string>,
  schedule: { readonly base: string; readonly nodeName: string },
  now: Date,
): Date | undefined {
  const start = `${schedule.base}-${schedule.nodeName}-`;
  let last: Date | undefined;
  for (const name of names) {
    const at = parseCreatedAt(name);
    if (at === undefined || !isNameOf(uncompressedName(name), start)) continue;
    if (at.getTime() > now.getTime() + TOLERANCE_MS) continue;
    if (last === undefined || at > last) last = at;
  }
  return last;
}

function isNameOf(name: string, start: string): boolean {
  return name.startsWith(start) && /^\d+$/.test(name.slice(start.length));
}
