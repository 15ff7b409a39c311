import { SnapshotError } from '../errors.ts';

/** What, why and what to do, a line each; with `debug` the chain of causes behind. */
export function describeError(error: Error, debug: boolean): string {
  const lines = [error.message];
  if (error instanceof SnapshotError) {
    if (error.why !== undefined) lines.push(`  why: ${error.why}`);
    if (error.hint !== undefined) lines.push(`  do:  ${error.hint}`);
  }
  if (debug) {
    for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
      lines.push(`  ${cause.stack ?? cause.message}`);
    }
  }
  return lines.join('\n');
}
