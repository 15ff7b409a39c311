import { type ChildProcess, spawn } from 'node:child_process';

/** Ends the process whose id it is given when its own input ends, and be it because we were killed. */
const GUARD = 'while read -r line; do :; done; kill -9 "$0" 2>/dev/null';

/**
 * Sees to it that a program does not outlive us. Kill the guard when the program has ended. A machine without a shell has
 * none; then a kill of ours leaves the program behind.
 */
export function guardOf(child: ChildProcess): ChildProcess {
  const guard = spawn('sh', ['-c', GUARD, String(child.pid ?? 0)], {
    stdio: ['pipe', 'ignore', 'ignore'],
    // Ctrl-C in the terminal must not end it first.
    detached: true,
  });
  guard.on('error', () => undefined);
  guard.stdin?.on('error', () => undefined);
  guard.unref();
  return guard;
}
