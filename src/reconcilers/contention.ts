import { SnapshotError } from '../errors.ts';

/** Nobody, but another operator, undoes the same so often in so short a time. */
const TIMES = 5;
const WITHIN_MS = 60_000;
/** So long is nothing written then: two that fight would go on at full speed for ever. */
const HOLDS_MS = 300_000;

/** Finds out that somebody undoes what is written as fast as it is written. */
export interface Contention {
  /** To be told of what was written: exactly the same, again and again, is what somebody undoes. */
  wrote(what: string, snapshot: string): void;
  /** @throws SnapshotError `busy` for a while after that was found */
  assertNone(): void;
}

/** @param keeper the node whose records are written @param monotonic milliseconds that do not jump */
export function createContention(keeper: string, monotonic: () => number): Contention {
  /** When each was written lately; in the order of the last time. */
  const lately = new Map<string, readonly number[]>();
  let found: { readonly snapshot: string; readonly until: number } | undefined;
  const forgetOld = (now: number) => {
    for (const [what, times] of lately) {
      if (now - (times.at(-1) ?? 0) < WITHIN_MS) return;
      lately.delete(what);
    }
  };
  return {
    wrote(what, snapshot) {
      const now = monotonic();
      forgetOld(now);
      const times = (lately.get(what) ?? []).filter((at) => now - at < WITHIN_MS);
      lately.delete(what);
      lately.set(what, [...times, now]);
      if (times.length + 1 >= TIMES) found = { snapshot, until: now + HOLDS_MS };
    },
    assertNone() {
      if (found === undefined) return;
      if (monotonic() < found.until) throw fought(keeper, found.snapshot);
      found = undefined;
      lately.clear();
    },
  };
}

function fought(keeper: string, snapshot: string): SnapshotError {
  return new SnapshotError(
    'busy',
    `The records of node ${keeper} are left alone for ${HOLDS_MS / 60_000} minutes`,
    {
      why: `the same was written ${TIMES} times within a minute, as for ${snapshot}, and undone each time: another operator calls itself node ${keeper}, or has another snapshot folder`,
      hint: 'Run one operator per node, and give each machine a --node-name of its own.',
      retryable: true,
    },
  );
}
