import { isDeepStrictEqual } from 'node:util';
import pRetry from 'p-retry';
import { type ETCDSnapshotFile, type Program, recordKeys } from '../crds/etcd-snapshot-file.ts';
import { toSnapshotFile } from '../crds/mapping.ts';
import { abortError, asError, isSnapshotError } from '../errors.ts';
import type { Clock, SnapshotRecorder } from '../snapshot/ports.ts';
import type { SnapshotFacts } from '../snapshot/snapshot.ts';
import { isObjectMissing } from './api-errors.ts';
import type { KubeClient } from './client.ts';
import { emitRecorded } from './snapshot-event.ts';
import { createSnapshotFilesApi, type SnapshotFilesApi } from './snapshot-files-api.ts';

/** A save waits for the facts before it can finish: they must come soon or not at all. */
const FACTS_TIMEOUT_MS = 3_000;
/** k3s's own steps: nine attempts, 10 ms before the second, each wait three times the last. */
const RETRIES = { retries: 8, minTimeout: 10, factor: 3, randomize: true } as const;
/** An API server that is away is asked three times: the save must not wait for its return. */
const ATTEMPTS_WHILE_AWAY = 3;

export interface KubeRecorderOptions {
  readonly program: Program;
  /** The node that this process runs for. */
  readonly nodeName: string;
  readonly clock?: Clock;
  /** Told what did not work and does not fail the call: missing facts, events that were not taken. */
  readonly onWarning?: (warning: Error) => void;
}

/** Publishes snapshots as ETCDSnapshotFile, the way k3s does; see `toSnapshotFile` for what is written. */
export function createKubeRecorder(client: KubeClient, options: KubeRecorderOptions): SnapshotRecorder {
  const { program, nodeName, clock = { now: () => new Date() }, onWarning = () => {} } = options;
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
        attempt(clusterIdOf(client, signal), signal),
        attempt(extraMetadata(client, program, signal), signal),
      ]);
      const facts: SnapshotFacts = {
        ...(clusterId === undefined ? {} : { clusterId }),
        ...(metadata === undefined ? {} : { metadata }),
      };
      return facts;
    },

    async record(snapshot, signal) {
      const desired = toSnapshotFile(snapshot, program);
      const created = await retryConflicts(upserting(files, desired, program, signal), signal);
      if (created === undefined) return;
      const origin = { program, nodeName, now: clock.now() };
      await attempt(emitRecorded(client, created, origin, signal), signal);
    },
  };
}

/** One attempt after the other, which return the record when one of them created it. */
function upserting(
  files: SnapshotFilesApi,
  desired: ETCDSnapshotFile,
  program: Program,
  signal: AbortSignal,
): () => Promise<ETCDSnapshotFile | undefined> {
  /** A create whose answer was lost may have been done: then the next attempt finds our own record. */
  let unanswered = false;
  return async () => {
    const existing = await files.get(desired.metadata.name, signal);
    if (existing === undefined) {
      return files.create(desired, signal).catch((error: unknown) => {
        unanswered ||= isSnapshotError(error, 'unavailable');
        throw error;
      });
    }
    const merged = mergeRecord(existing, desired, program);
    if (isDeepStrictEqual(merged, existing)) return unanswered ? existing : undefined;
    await files.update(merged, signal);
    return undefined;
  };
}

/**
 * What is ours is replaced as a whole, so that a success clears an earlier error; labels, annotations,
 * finalizers and owners that others set are kept.
 */
function mergeRecord(
  existing: ETCDSnapshotFile,
  desired: ETCDSnapshotFile,
  program: Program,
): ETCDSnapshotFile {
  const annotations = { ...existing.metadata.annotations, ...desired.metadata.annotations };
  if (desired.status?.error !== undefined) delete annotations[recordKeys(program).tokenHash];
  return {
    ...existing,
    metadata: {
      ...existing.metadata,
      labels: { ...existing.metadata.labels, ...desired.metadata.labels },
      ...(existing.metadata.annotations === undefined && Object.keys(annotations).length === 0
        ? {}
        : { annotations }),
    },
    spec: desired.spec,
    ...(desired.status === undefined ? {} : { status: desired.status }),
  };
}

async function retryConflicts<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
  try {
    return await pRetry(work, {
      ...RETRIES,
      signal,
      shouldRetry: ({ error, attemptNumber }) =>
        isSnapshotError(error, 'conflict', 'exists') ||
        (isSnapshotError(error, 'unavailable') && error.retryable && attemptNumber < ATTEMPTS_WHILE_AWAY),
    });
  } catch (error) {
    if (signal.aborted) throw abortError(signal);
    throw error;
  }
}

async function clusterIdOf(client: KubeClient, signal: AbortSignal): Promise<string | undefined> {
  const path = '/api/v1/namespaces/kube-system';
  const namespace = await client.request<{ metadata: { uid?: string } }>({
    method: 'GET',
    path,
    signal,
    timeoutMs: FACTS_TIMEOUT_MS,
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
    });
    return map.data === undefined || Object.keys(map.data).length === 0 ? undefined : map.data;
  } catch (error) {
    if (isObjectMissing(error)) return undefined;
    throw error;
  }
}
