import type { Program } from '../crds/etcd-snapshot-file.ts';
import { toSnapshotFile } from '../crds/mapping.ts';
import { asError } from '../errors.ts';
import type { Clock, SnapshotRecorder } from '../snapshot/ports.ts';
import type { SnapshotFacts } from '../snapshot/snapshot.ts';
import { isObjectMissing } from './api-errors.ts';
import type { KubeClient } from './client.ts';
import { publishRecord } from './publish-record.ts';
import { emitRecorded } from './snapshot-event.ts';
import { createSnapshotFilesApi } from './snapshot-files-api.ts';

/** A save waits for the facts before it can finish: they must come soon or not at all, and queue behind no others. */
const FACTS_TIMEOUT_MS = 3_000;
export interface KubeRecorderOptions {
  readonly program: Program;
  /** The node that this process runs for. */
  readonly nodeName: string;
  readonly clock?: Clock;
  /** UID of kube-system, from where it is remembered; asked for each time unless given. @throws SnapshotError */
  readonly clusterId?: (signal: AbortSignal) => Promise<string | undefined>;
  /** Told what did not work and does not fail the call: missing facts, events that were not taken. */
  readonly onWarning?: (warning: Error) => void;
}

/** Publishes snapshots as ETCDSnapshotFile, the way k3s does; see `toSnapshotFile` for what is written. */
export function createKubeRecorder(client: KubeClient, options: KubeRecorderOptions): SnapshotRecorder {
  const { program, nodeName, clock = { now: () => new Date() }, onWarning = () => {} } = options;
  const askedFor = options.clusterId ?? ((signal: AbortSignal) => clusterIdOf(client, signal));
  const files = createSnapshotFilesApi(client);

  const attempt = async <T>(work: Promise<T>, signal: AbortSignal): Promise<T | undefined> => {
    try {
      return await work;
    } catch (error) {
      if (!signal.aborted) onWarning(asError(error));
      return undefined;
    }
  };

  return {
    async facts(signal) {
      const [clusterId, metadata] = await Promise.all([
        attempt(askedFor(signal), signal),
        attempt(extraMetadata(client, program, signal), signal),
      ]);
      const facts: SnapshotFacts = {
        ...(clusterId === undefined ? {} : { clusterId }),
        ...(metadata === undefined ? {} : { metadata }),
      };
      return facts;
    },

    async record(snapshot, signal) {
      const { created } = await publishRecord(files, toSnapshotFile(snapshot, program), program, signal);
      if (created === undefined) return;
      const origin = { program, nodeName, now: clock.now() };
      await attempt(emitRecorded(client, created, origin, signal), signal);
    },
  };
}

/** UID of kube-system: the cluster's id, as k3s takes it. */
export async function clusterIdOf(client: KubeClient, signal: AbortSignal): Promise<string | undefined> {
  const path = '/api/v1/namespaces/kube-system';
  const namespace = await client.request<{ metadata: { uid?: string } }>({
    method: 'GET',
    path,
    signal,
    timeoutMs: FACTS_TIMEOUT_MS,
    urgent: true,
  });
  return namespace.metadata.uid;
}

/** Undefined when the administrator noted nothing. */
async function extraMetadata(
  client: KubeClient,
  program: Program,
  signal: AbortSignal,
): Promise<Readonly<Record<string, string>> | undefined> {
  const path = `/api/v1/namespaces/kube-system/configmaps/${program}-etcd-snapshot-extra-metadata`;
  try {
    const map = await client.request<{ data?: Record<string, string> }>({
      method: 'GET',
      path,
      signal,
      timeoutMs: FACTS_TIMEOUT_MS,
      urgent: true,
    });
    return map.data === undefined || Object.keys(map.data).length === 0 ? undefined : map.data;
  } catch (error) {
    if (isObjectMissing(error)) return undefined;
    throw error;
  }
}
