import { describeError } from './cli/error-text.ts';
import { run } from './cli/root.ts';
import { asError, isSnapshotError, SnapshotError } from './errors.ts';

const EXIT = { failed: 1, usage: 2, interrupted: 130 } as const;

const interrupt = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    // Somebody who asks twice does not want to wait for the tidying.
    if (interrupt.signal.aborted) process.exit(EXIT.interrupted);
    interrupt.abort(new SnapshotError('aborted', 'Interrupted', { why: `received ${signal}` }));
  });
}

try {
  process.exitCode = await run(process.argv.slice(2), process, interrupt.signal);
} catch (thrown) {
  const error = asError(thrown);
  process.stderr.write(
    `${describeError(error, process.argv.includes('--debug') || !isSnapshotError(error))}\n`,
  );
  process.exitCode = exitCode(error);
}

function exitCode(error: Error): number {
  if (interrupt.signal.aborted || isSnapshotError(error, 'aborted')) return EXIT.interrupted;
  return isSnapshotError(error, 'usage') ? EXIT.usage : EXIT.failed;
}
