import { join } from 'node:path';
import type { RestoreOrder } from '../config/restore-settings.ts';
import { SnapshotError } from '../errors.ts';
import { exists } from './files.ts';
import type { Journal, Step } from './journal.ts';
import { startsEtcd, stopPods } from './manifests.ts';
import type { OnStep } from './restore.ts';
import { type ActiveServices, assertNothingRuns, whatRuns } from './what-runs.ts';

/** Before these, programs that came up since the look would be hurt, or hurt the data. */
const TOUCHING: readonly Step[] = ['stop', 'set-aside', 'put-in-place', 'certificates'];

/** Looks once more who runs, right before a step that would hurt. Manifests that were put back meanwhile go away again. */
export function watchful(
  journal: Journal,
  parts: { readonly order: RestoreOrder; readonly active: ActiveServices },
  onStep: OnStep,
  signal: AbortSignal,
): OnStep {
  const { order, active } = parts;
  const { manifests } = journal.places;
  return async (step) => {
    await onStep(step);
    // Data that are to be kept are copied, which must not happen while they change.
    const copies = journal.purpose === 'reset' && step === 'extract';
    if (!copies && !TOUCHING.includes(step)) return;
    // A reset that was cut off while it waited for the end of etcd waits again.
    const waits = manifests !== undefined && copies && (await exists(manifests.away));
    if (manifests !== undefined && (step === 'stop' || waits || (await startsEtcd(manifests.dir)))) {
      await stopPods(journal, () => whatRuns(order, active), signal);
      return;
    }
    await assertStopped(order, journal, active);
  };
}

/** @throws SnapshotError `conflict` when something runs, or kubelet would start it in a moment */
export async function assertStopped(
  order: RestoreOrder,
  journal: Journal,
  active: ActiveServices,
): Promise<void> {
  const { manifestDir: dir } = order;
  if (journal.places.manifests === undefined && dir !== undefined && (await startsEtcd(dir))) {
    throw new SnapshotError('conflict', `${order.dataDir} must not be touched now`, {
      why: `${join(dir, 'etcd.yaml')} is there again, so kubelet starts etcd`,
      hint: 'Move it away again until the data are in place.',
    });
  }
  await assertNothingRuns(order, active);
}
