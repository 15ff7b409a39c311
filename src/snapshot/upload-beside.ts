import { asError, isSnapshotError } from '../errors.ts';
import type { SnapshotStore, SnapshotUpload, StoredSnapshot } from './ports.ts';
import type { RemoteStore } from './save-snapshot.ts';
import type { S3Location } from './snapshot.ts';

export interface UploadOutcome {
  readonly stored?: StoredSnapshot;
  readonly error?: Error;
  /** Where the copy would have been; without a key where another object is; undefined while nobody knows which store it is. */
  readonly location?: S3Location | undefined;
  /** Removes what dead uploads left. */
  readonly sweep: (signal: AbortSignal) => Promise<unknown>;
}

/** Uploads while the snapshot is still being written. Never rejects: the copy on disk does not depend on it. */
export async function uploadBeside(
  remote: RemoteStore | undefined,
  upload: SnapshotUpload,
  signal: AbortSignal,
): Promise<UploadOutcome> {
  const sweep = async () => undefined;
  if (remote === undefined) return { sweep };
  let store: SnapshotStore | undefined;
  try {
    const opened = await remote.open(signal);
    store = opened;
    return { stored: await opened.put(upload, signal), sweep: (inner) => opened.sweep(inner) };
  } catch (error) {
    // What is there under that name is another's, and its record must not say that it failed.
    const hasPlace = store !== undefined && !isSnapshotError(error, 'exists');
    return {
      error: asError(error),
      location: remote.location(hasPlace ? upload.name : ''),
      sweep,
    };
  }
}
