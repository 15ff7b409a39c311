import type { Config } from '../config/types.ts';
import { isS3Record } from '../crds/claim.ts';
import {
  type ETCDSnapshotFile,
  type Program,
  recordKeys,
  SEED_FINALIZER,
} from '../crds/etcd-snapshot-file.ts';
import type { ClusterFacts } from '../kube/cluster-facts.ts';
import type { RecordView } from '../reconcilers/ports.ts';
import type { Clock } from '../snapshot/ports.ts';

/** k3s notes on its node, every ten minutes, that it has looked at S3; a note that old is of a k3s that does not any more. */
const STALE_MS = 24 * 3_600_000;
/** From a look of k3s at its folder to the deletion of records of files that it has not seen there. */
const LOOKS_MS = 30_000;
/** The same while it lists S3 in between, for which it has five minutes. */
const LOOKS_AT_S3_MS = 10 * 60_000;

/** Whether a k3s or RKE2 server runs on the node, with a controller of its own for the records. */
export function isBesideK3s({ distribution }: Config): boolean {
  return distribution === 'k3s' || distribution === 'rke2';
}

/** Why the deletion of a record may be the doing of k3s, or undefined when it cannot be. @throws SnapshotError */
type DeletionsByK3s = (file: ETCDSnapshotFile, signal: AbortSignal) => Promise<string | undefined>;

/**
 * Tells deletions that k3s may have made from those that somebody wants. Its reconcile deletes records of this node whose
 * file was not in its own folder when it looked there and, when its own S3 is switched on, records of S3 that newer versions
 * would name otherwise. Nobody wanted the data gone then.
 * @param servers names of the nodes that may run a k3s server
 */
function deletionsByK3s(parts: DeletionFactsParts, servers: () => Iterable<string>): DeletionsByK3s {
  const { config, program, facts, clock } = parts;
  const { distribution, snapshotDirIsDefault, snapshotDir, nodeName } = config;
  const keepsS3 = async (node: string, signal: AbortSignal): Promise<boolean> => {
    const { s3Kept, s3Asked } = await facts.k3sOn(node, signal);
    return s3Asked || (s3Kept !== undefined && clock.now().getTime() - s3Kept.getTime() < STALE_MS);
  };
  const ofFolder: DeletionsByK3s = async (file, signal) => {
    if (!snapshotDirIsDefault) {
      return `${distribution} itself deletes records of files outside of its own snapshot folder, such as ${snapshotDir}; to delete the file too, remove it there`;
    }
    const usual = (await keepsS3(nodeName, signal)) ? LOOKS_AT_S3_MS : LOOKS_MS;
    const lasts = parts.k3sLooksMs ?? usual;
    if (ageAtDeletion(file) >= lasts) return undefined;
    return `the record was less than ${lasts / 1000} s old, and ${distribution} itself deletes that of a file which came while it compared its folder with the records; delete the record that comes in its place, or the file`;
  };
  const ofS3: DeletionsByK3s = async (_file, signal) => {
    for (const node of new Set(servers())) {
      if (!(await keepsS3(node, signal))) continue;
      return `${distribution} on node ${node} keeps snapshots on S3 itself and may have deleted the record; switch one of the two off, or delete the object there`;
    }
    return undefined;
  };
  return async (file, signal) => {
    if (!isBesideK3s(config)) return undefined;
    return isS3Record(file, program) ? ofS3(file, signal) : ofFolder(file, signal);
  };
}

/** Both times are of the API server's clock, in whole seconds. */
function ageAtDeletion({ metadata: { creationTimestamp, deletionTimestamp } }: ETCDSnapshotFile): number {
  if (creationTimestamp === undefined || deletionTimestamp === undefined) return Number.POSITIVE_INFINITY;
  return Date.parse(deletionTimestamp) - Date.parse(creationTimestamp);
}

export interface DeletionFactsParts {
  readonly config: Config;
  readonly program: Program;
  readonly facts: Pick<ClusterFacts, 'clusterId' | 'definitionIsGoing' | 'nodeIsGone' | 'k3sOn'>;
  readonly records: Pick<RecordView, 'takenOn'>;
  readonly clock: Clock;
  /** In place of the usual times. */
  readonly k3sLooksMs: number | undefined;
}

/** What the cluster tells of a record that is being deleted, by the distribution that it is. */
export function deletionFacts(parts: DeletionFactsParts) {
  const { config, facts, records } = parts;
  const servers = () => [config.nodeName, ...records.takenOn()];
  return {
    clusterId: facts.clusterId,
    definitionIsGoing: facts.definitionIsGoing,
    // Members of another etcd need not be nodes of this cluster, so that there is no such node tells nothing.
    nodeIsGone: config.distribution === 'custom' ? async () => false : facts.nodeIsGone,
    k3sMayHaveDeleted: deletionsByK3s(parts, servers),
  };
}

/** Beside k3s a finalizer of our own, because k3s lifts its own by itself; elsewhere the seed's, which nobody else lifts. */
export function finalizerFor(config: Config, program: Program): string {
  return isBesideK3s(config) ? recordKeys(program).finalizer : SEED_FINALIZER;
}
