import type { SnapshotError } from '../errors.ts';

/** What one part of the operator says of itself. */
export interface PartState {
  readonly ready: boolean;
  /** One line: what is wrong, why and what to do; or what it waits for. */
  readonly reason?: string;
  /** What the reason is an instance of: while it stays the same, another reason is no change that anybody is told of. */
  readonly kind?: string;
}

/** The operator's parts and how they fare. A part that only limits what can be done does not make the whole unready. */
export interface Readiness {
  /**
   * Tells the state of a part. Only changes are passed on.
   * @param options.optional the pod stays ready without it: S3, say, whose absence must not stop local snapshots
   */
  set(part: string, state: PartState, options?: { readonly optional?: boolean }): void;
  /** Ready when every part that is not optional is. */
  report(): ReadinessReport;
}

export interface ReadinessReport {
  readonly ready: boolean;
  readonly parts: Readonly<Record<string, PartState & { readonly optional: boolean }>>;
}

/**
 * @param expected parts that must have told that they are ready before the whole is
 * @param onChange called once per change of a part
 */
export function createReadiness(
  expected: readonly string[],
  onChange: (part: string, state: PartState) => void,
): Readiness {
  const parts = new Map<string, PartState & { readonly optional: boolean }>(
    expected.map((part) => [part, { ready: false, reason: 'has not started', optional: false }]),
  );
  return {
    set(part, state, { optional = false } = {}) {
      const before = parts.get(part);
      parts.set(part, { ...state, optional });
      const kindOf = ({ kind, reason }: PartState) => kind ?? reason;
      if (before?.ready !== state.ready || kindOf(before) !== kindOf(state)) onChange(part, state);
    },
    report() {
      const ready = [...parts.values()].every((part) => part.ready || part.optional);
      return { ready, parts: Object.fromEntries([...parts].toSorted(([a], [b]) => (a < b ? -1 : 1))) };
    },
  };
}

/** An error in one line, for people who read a readiness report. */
export function reasonOf(error: SnapshotError): string {
  const parts = [error.message, error.why, error.hint].filter((part) => part !== undefined);
  // A list, as of all that is wrong with a Secret, has an item a line.
  return parts
    .map((part) =>
      part
        .trim()
        .replace(/^-\s+/, '')
        .replace(/\s*\n\s*-\s+/g, '; ')
        .replace(/\s*\n\s*/g, ' '),
    )
    .join(' — ');
}
