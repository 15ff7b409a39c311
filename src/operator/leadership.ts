import { SnapshotError } from '../errors.ts';
import type { KubeClient } from '../kube/client.ts';
import { type LeaseState, runLeaderLease } from '../kube/leader-lease.ts';
import type { Logger } from '../logger.ts';
import type { Timers } from '../timers.ts';

/** Name of the Lease in kube-system by which the operators of a cluster agree on one that looks after S3. */
const LEASE = 'etcd-snapshot-operator';

export interface LeadershipParts {
  readonly client: KubeClient;
  readonly nodeName: string;
  readonly timers: Timers;
  readonly random: () => number;
  readonly durationMs: number | undefined;
  /** Called when it becomes ours. */
  readonly onGained: () => void;
  readonly onState: (state: LeaseState) => void;
  /** Told who leads whenever it is another one. */
  readonly logger: Pick<Logger, 'info'>;
  /** Gives the Lease back, once what was done as leader has ended. */
  readonly signal: AbortSignal;
  /** Resolves, after the signal, when nothing is under way any more. */
  readonly workEnded: Promise<unknown>;
}

export interface Leadership {
  /** Ends with our leadership; undefined while we do not lead. Ask right before every act as leader. */
  current(): AbortSignal | undefined;
  /** @throws SnapshotError `aborted` unless we lead */
  assert(): void;
  /** Resolves when the Lease is given back after the end. */
  readonly stopped: Promise<void>;
}

/** Takes part in the election for as long as the operator runs. */
export function takePartInElection(parts: LeadershipParts): Leadership {
  const { client, nodeName, timers, random, durationMs, onGained, logger, signal } = parts;
  let told: Pick<LeaseState, 'leading' | 'holder'> = { leading: false, holder: undefined };
  let leading: AbortSignal | undefined;
  const lease = runLeaderLease({
    client,
    name: LEASE,
    identity: nodeName,
    timers,
    random,
    ...(durationMs === undefined ? {} : { durationMs }),
    async onLeading(term) {
      leading = term;
      onGained();
      await aborted(term);
      // Whoever gets the Lease begins at once, and must not meet us in the middle of something.
      if (signal.aborted) await parts.workEnded;
    },
    onState(state) {
      const { leading, holder } = state;
      if (leading !== told.leading || holder !== told.holder)
        logger.info({ leading, holder }, 'Leadership of S3');
      told = { leading, holder };
      parts.onState(state);
    },
    signal,
  });
  const current = () => (leading?.aborted === false && lease.isLeading() ? leading : undefined);
  return {
    current,
    assert() {
      if (current() !== undefined) return;
      throw new SnapshotError('aborted', 'What the nodes share is not looked after by this operator now');
    },
    stopped: lease.stopped,
  };
}

/** A term may be over before anybody has begun to wait for its end. */
async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}
