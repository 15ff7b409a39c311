import { hostname } from 'node:os';
import { parseFlags } from '../../src/config/flags.ts';
import { resolveConfig } from '../../src/config/resolve.ts';
import { openRecovery } from '../../src/recovery.ts';

/** `restore-main STEP restore …`: like the real command, but killed when it is about to begin that step. */
const [stopAt = '', ...argv] = process.argv.slice(2);
const around = { env: process.env, hostname: hostname(), cwd: process.cwd(), exists: () => false };
const config = resolveConfig('restore', parseFlags(argv), around);
if (config.restore === undefined) throw new Error('not a restore');
await openRecovery(config, process.env).restore(
  config.restore,
  {
    onPlan: () => undefined,
    confirm: async () => true,
    onStep: async (step) => {
      if (step !== stopAt) return;
      process.kill(process.pid, 'SIGKILL');
      await new Promise(() => undefined);
    },
  },
  new AbortController().signal,
);
