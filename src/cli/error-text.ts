import { isSnapshotError } from '../errors.ts';

/** What, why and what to do, a line each; with `debug` code, stack and the chain of causes behind. */
export function describeError(error: Error, debug: boolean): string {
  const lines = [error.message];
  if (isSnapshotError(error)) {
    if (error.why !== undefined)
      lines.push(error.why.startsWith('\n') ? `  why:${error.why}` : `  why: ${error.why}`);
    if (error.hint !== undefined) lines.push(`  do:  ${error.hint}`);
    if (debug) lines.push(`  code: ${error.code}${error.retryable ? ', worth another try' : ''}`);
  }
  if (debug) {
    const seen = new Set<unknown>();
    for (let cause: unknown = error; cause instanceof Error && !seen.has(cause); cause = cause.cause) {
      seen.add(cause);
      lines.push(`  ${cause.stack ?? cause.message}`);
    }
  }
  return printable(lines.join('\n'));
}

/** Names and answers come from disks and servers: what would steer the reader's terminal is shown as `?`. */
export function printable(text: string): string {
  return text.replaceAll(/[^\P{Cc}\n\t]|\p{Cf}/gu, '?');
}

const told = new WeakSet<Error>();

/** Notes that the error has been shown already, in the form that the command was asked for. */
export function markTold(error: Error): void {
  told.add(error);
}

export function isTold(error: Error): boolean {
  return told.has(error);
}
