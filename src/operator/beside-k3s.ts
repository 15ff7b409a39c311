import type { Config } from '../config/types.ts';
import { type Program, recordKeys, SEED_FINALIZER } from '../crds/etcd-snapshot-file.ts';
import type { ClusterFacts } from '../kube/cluster-facts.ts';
import type { Clock } from '../snapshot/ports.ts';

/** k3s notes on its node, every ten minutes, that it has looked at S3; a note that old is of a k3s that does not any more. */
const STALE_MS = 24 * 3_600_000;

/** Whether a k3s or RKE2 server runs on the node, with a controller of its own for the records. */
export function isBesideK3s({ distribution }: Config): boolean {
  return distribution === 'k3s' || distribution === 'rke2';
}

/**
 * Says why the deletion of a record may be the doing of k3s. Its reconcile deletes records of this node whose file is not in
 * its own folder and, when its own S3 is switched on, records of S3 that newer versions would name otherwise. Nobody wanted
 * the data gone then.
 */
export function deletionsByK3s(
  config: Config,
  facts: ClusterFacts,
  clock: Clock,
): (store: 'local' | 's3', signal: AbortSignal) => Promise<string | undefined> {
  return async (store, signal) => {
    if (!isBesideK3s(config)) return undefined;
    const { distribution, snapshotDirIsDefault, snapshotDir, nodeName } = config;
    if (store === 'local') {
      if (snapshotDirIsDefault) return undefined;
      return `${distribution} itself deletes records of files outside of its own snapshot folder, such as ${snapshotDir}; to delete the file too, remove it there`;
    }
    const last = await facts.k3sKeptS3(nodeName, signal);
    if (last === undefined || !(clock.now().getTime() - last.getTime() < STALE_MS)) return undefined;
    return `${distribution} keeps snapshots on S3 itself and may have deleted the record; switch one of the two off, or delete the object there`;
  };
}

/** Beside k3s a finalizer of our own, because k3s lifts its own by itself; elsewhere the seed's, which nobody else lifts. */
export function finalizerFor(config: Config, program: Program): string {
  return isBesideK3s(config) ? recordKeys(program).finalizer : SEED_FINALIZER;
}
