import { openSync, writeSync } from 'node:fs';
import { connect } from '../../src/kube/client.ts';
import { runLeaderLease } from '../../src/kube/leader-lease.ts';
import { systemTimers } from '../../src/timers.ts';

export interface CandidateSettings {
  readonly kubeconfig: string;
  readonly name: string;
  readonly identity: string;
  readonly durationMs: number;
  /** How wrong its clock on the wall is. */
  readonly clockOffMs: number;
  /** Shared by all candidates: what they do as leader, in the order in which the kernel took it. */
  readonly deeds: string;
}

/**
 * A process for tests of the election. It tries to act every few milliseconds, whatever it has been told, and asks
 * nothing but `isLeading` before. SIGUSR2 freezes it, where no act is half done; SIGTERM ends it in good order.
 */
const settings: CandidateSettings = JSON.parse(process.argv[2] ?? '');
const file = openSync(settings.deeds, 'a');
const stop = new AbortController();
let term = 0;
const note = (deed: string) => writeSync(file, `${deed} ${settings.identity} ${term}\n`);

await using client = await connect(settings.kubeconfig);
const lease = runLeaderLease({
  client,
  name: settings.name,
  identity: settings.identity,
  durationMs: settings.durationMs,
  timers: { ...systemTimers, now: () => new Date(Date.now() + settings.clockOffMs) },
  random: Math.random,
  async onLeading(signal) {
    term += 1;
    note('begin');
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    note('end');
  },
  onState: (state) => process.stdout.write(`${JSON.stringify(state)}\n`),
  signal: stop.signal,
});
const acting = setInterval(() => lease.isLeading() && note('act'), 5);
process.once('SIGTERM', () => stop.abort());
process.on('SIGUSR2', () => process.kill(process.pid, 'SIGSTOP'));
process.stdout.write('"ready"\n');
await lease.stopped;
clearInterval(acting);
