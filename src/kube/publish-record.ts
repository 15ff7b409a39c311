import { isDeepStrictEqual } from 'node:util';
import pRetry from 'p-retry';
import { type ETCDSnapshotFile, type Program, recordKeys } from '../crds/etcd-snapshot-file.ts';
import { abortError, isSnapshotError } from '../errors.ts';
import type { SnapshotFilesApi } from './snapshot-files-api.ts';

/** k3s's own steps: nine attempts, 10 ms before the second, each wait three times the last. */
const RETRIES = { retries: 8, minTimeout: 10, factor: 3, randomize: true } as const;
/** An API server that is away is asked three times: the save must not wait for its return. */
const ATTEMPTS_WHILE_AWAY = 3;

export interface Published {
  /** The record, when this call created it. */
  readonly created?: ETCDSnapshotFile;
  /** Nothing was: the record said the same already. */
  readonly written: boolean;
}

/**
 * Creates the record, or makes an existing one say the same; conflicts are tried again. Returns the record when this call
 * created it, but never twice for the same record: what is told of a creation is told once.
 * @throws SnapshotError as `SnapshotFilesApi`
 */
export async function publishRecord(
  files: SnapshotFilesApi,
  desired: ETCDSnapshotFile,
  program: Program,
  signal: AbortSignal,
): Promise<Published> {
  return retryConflicts(upserting(files, desired, program, signal), signal);
}

/** One attempt after the other, which tell what they did all together. */
function upserting(
  files: SnapshotFilesApi,
  desired: ETCDSnapshotFile,
  program: Program,
  signal: AbortSignal,
): () => Promise<Published> {
  /** A create whose answer was lost may have been done: then the next attempt finds our own record. */
  let unanswered = false;
  return async () => {
    const existing = await files.get(desired.metadata.name, signal);
    if (existing === undefined) {
      const created = await files.create(desired, signal).catch((error: unknown) => {
        unanswered ||= isSnapshotError(error, 'unavailable');
        throw error;
      });
      return { created, written: true };
    }
    const merged = mergeRecord(existing, desired, program);
    if (isDeepStrictEqual(merged, existing))
      return unanswered ? { created: existing, written: true } : { written: false };
    await files.update(merged, signal);
    return { written: true };
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
