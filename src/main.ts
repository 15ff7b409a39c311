import { describeError, isTold } from './cli/error-text.ts';
import { exitCodes } from './cli/exit-codes.ts';
import { run } from './cli/root.ts';
import { asError, isSnapshotError, SnapshotError, systemCode } from './errors.ts';

/** How long what lingers may keep a finished program: connections of a peer that does not answer any more. */
const LINGER_MS = 500;

const interrupt = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    // Somebody who asks twice does not want to wait for the tidying.
    if (interrupt.signal.aborted) process.exit(exitCodes.interrupted);
    interrupt.abort(new SnapshotError('aborted', 'Interrupted', { why: `received ${signal}` }));
  });
}
let unread = false;
process.stdout.on('error', (error) => {
  // `ls | head` closes our output early, which is no failure; nor may it cut off `restore | head` in the middle of its work, and
  // look like success. So whatever is being done is done, and its exit code tells of it.
  unread ||= systemCode(error) === 'EPIPE';
  if (unread) return;
  const hint = 'Check what the output is redirected to.';
  const failure = new SnapshotError('io', 'The output cannot be written', { cause: error, hint });
  process.stderr.write(`${describeError(failure, false)}\n`);
  process.exit(exitCodes.failed);
});
// Whoever read our messages is gone, so there is nobody to tell; the work and its exit code do not depend on it.
process.stderr.on('error', () => undefined);

try {
  process.exitCode = await run(process.argv.slice(2), process, interrupt.signal);
} catch (thrown) {
  const error = asError(thrown);
  const debug = process.argv.includes('--debug') || !isSnapshotError(error);
  if (!isTold(error)) process.stderr.write(`${describeError(error, debug)}\n`);
  process.exitCode = exitCode(error);
}
setTimeout(() => process.exit(), LINGER_MS).unref();

function exitCode(error: Error): number {
  if (interrupt.signal.aborted || isSnapshotError(error, 'aborted')) return exitCodes.interrupted;
  return isSnapshotError(error, 'usage') ? exitCodes.usage : exitCodes.failed;
}
