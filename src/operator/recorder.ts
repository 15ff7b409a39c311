import type { Program } from '../crds/etcd-snapshot-file.ts';
import { asError } from '../errors.ts';
import type { KubeClient } from '../kube/client.ts';
import type { ClusterFacts } from '../kube/cluster-facts.ts';
import { createKubeRecorder } from '../kube/snapshot-recorder.ts';
import type { Logger } from '../logger.ts';
import type { RecordWriter } from '../reconcilers/ports.ts';
import type { SnapshotFolder, SnapshotRecorder } from '../snapshot/ports.ts';

export interface OperatorRecorderParts {
  readonly client: KubeClient;
  readonly program: Program;
  readonly nodeName: string;
  readonly writer: RecordWriter;
  readonly folder: SnapshotFolder;
  /** Remembers the cluster's id: what is uploaded while the API server is away must carry it too. */
  readonly facts: Pick<ClusterFacts, 'clusterId'>;
  readonly logger: Logger;
}

/**
 * Records what a save has made, with our finalizer. A copy on disk may have been recorded, and deleted, by somebody else
 * while the upload still ran: what is not there any more gets no record.
 */
export function createOperatorRecorder(parts: OperatorRecorderParts): SnapshotRecorder {
  const { client, program, nodeName, writer, folder, facts, logger } = parts;
  const onWarning = (warning: Error) =>
    logger.warn({ reason: warning.message }, 'The cluster does not tell all of a snapshot');
  const { clusterId } = facts;
  const kube = createKubeRecorder(client, { program, nodeName, clusterId, onWarning });
  return {
    facts: (signal) => kube.facts(signal),
    async record(snapshot, signal) {
      const { failure, location, name } = snapshot;
      const onDisk = failure === undefined && location.store === 'local';
      if (onDisk && (await folder.stat(name, signal)) === undefined) return;
      await writer.publish(snapshot, signal);
    },
  };
}

/** While it can be asked for: an upload needs it, also when the API server is away by then. */
export async function rememberCluster(
  facts: ClusterFacts,
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  try {
    await facts.clusterId(signal);
  } catch (error) {
    logger.debug({ reason: asError(error).message }, 'The id of the cluster is not known yet');
  }
}
