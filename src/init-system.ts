import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { ActiveService, ActiveServices } from './restore/what-runs.ts';

const run = promisify(execFile);
/** A systemd that does not answer must not keep a restore from being refused for another reason. */
const TIMEOUT_MS = 10_000;
/** Of `systemctl is-active`; all others are running, come up, go down, or wait to be started again. */
const AT_REST = ['inactive', 'failed', 'unknown', 'offline', ''];

/** Asks systemd. Where there is none, no service runs. @param path where `systemctl` is searched */
export function systemdServices(path: string): ActiveServices {
  const ask = async (args: readonly string[]): Promise<string[]> => {
    const options = { env: { PATH: path, LC_ALL: 'C' }, timeout: TIMEOUT_MS };
    // Its exit code only repeats what it writes, and without systemd it writes nothing.
    const { stdout } = await run('systemctl', args, options).catch(outputOf);
    return stdout.trim().split('\n');
  };
  return async (names) => {
    const states = await ask(['is-active', ...names]);
    const active: ActiveService[] = [];
    for (const [at, name] of names.entries()) {
      const state = states[at]?.trim() ?? '';
      if (AT_REST.includes(state)) continue;
      const pid = Number((await ask(['show', '--property=MainPID', '--value', name]))[0]);
      active.push({ name, state, pid: Number.isInteger(pid) && pid > 0 ? pid : undefined });
    }
    return active;
  };
}

function outputOf(error: unknown): { readonly stdout: string } {
  const stdout = error instanceof Error && 'stdout' in error ? error.stdout : undefined;
  return { stdout: typeof stdout === 'string' ? stdout : '' };
}
