import { isSnapshotError, SnapshotError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import type { Metrics } from '../ops/metrics.ts';
import { createReadiness, type Readiness, reasonOf } from '../ops/readiness.ts';

export interface PartStates {
  readonly readiness: Readiness;
  /** Says how a part fares: in the readiness report, as a metric, and in one log line per change. */
  readonly report: (part: string, error: SnapshotError | undefined) => void;
}

/** Parts without which the pod is not ready: it would show records that are not true. */
const NEEDED: readonly string[] = ['kubernetes', 'local'];

export function createPartStates(metrics: Metrics, logger: Logger): PartStates {
  const readiness = createReadiness(NEEDED, (part, state) => {
    metrics.ready(part, state.ready);
    if (state.ready) logger.info({ part }, 'Part works');
    else logger.warn({ part, reason: state.reason }, 'Part does not work');
  });
  return {
    readiness,
    report(part, error) {
      // Which record it was that could not be written is no news; what is wrong with S3 is.
      const kind = part === 's3' || error === undefined ? {} : { kind: error.code };
      const state =
        error === undefined ? { ready: true } : { ready: false, reason: reasonOf(error), ...kind };
      readiness.set(part, state, { optional: !NEEDED.includes(part) });
    },
  };
}

export function notYet(what: string): SnapshotError {
  return new SnapshotError('unavailable', what, { retryable: true });
}

/** An API server that has not answered yet, or does not now: nobody has to change anything for it. */
export function ofTheMoment(error: SnapshotError): boolean {
  return isSnapshotError(error, 'unavailable', 'timeout');
}

/** Logs what is wrong with one of many things, with cause and cure, when it begins and when it becomes another. */
export function tellOnce(logger: Logger, message: string) {
  const known = new Map<string, string>();
  return {
    told(record: string, error: Error | undefined): void {
      if (error === undefined) {
        known.delete(record);
        return;
      }
      const kind = isSnapshotError(error) ? error.code : error.name;
      if (known.get(record) === kind) return;
      known.set(record, kind);
      logger.warn({ record, reason: isSnapshotError(error) ? reasonOf(error) : error.message }, message);
    },
  };
}
