import type { ETCDSnapshotFile } from '../crds/etcd-snapshot-file.ts';
import { isSnapshotError } from '../errors.ts';
import type { PatchOperation, SnapshotFilesApi } from '../kube/snapshot-files-api.ts';

/**
 * What our finalizer asks for on a record.
 *
 * - `add` nobody wants the record gone, and the finalizer is missing
 * - `living` nobody wants the record gone, and the finalizer is there
 * - `clean` the record waits for our cleanup · `done` it is about to go, and not held up by us
 */
export type FinalizerState = 'add' | 'living' | 'clean' | 'done';

export function finalizerState(file: ETCDSnapshotFile, finalizer: string): FinalizerState {
  const present = file.metadata.finalizers?.includes(finalizer) ?? false;
  if (file.metadata.deletionTimestamp === undefined) return present ? 'living' : 'add';
  return present ? 'clean' : 'done';
}

/**
 * Both calls write only when there is something to change, and only over the version that they have read: no
 * finalizer of somebody else is ever lost. They return the record as it is afterwards; undefined when it is gone,
 * be it that another one has its name by now.
 * @throws SnapshotError `conflict` (retryable) when it changed twice meanwhile; else as `SnapshotFilesApi`
 */
export interface Finalizer {
  /** Adds the finalizer, unless somebody wants the record gone: then it is too late, and nothing is written. */
  ensure(file: ETCDSnapshotFile, signal: AbortSignal): Promise<ETCDSnapshotFile | undefined>;
  /** Takes the finalizer off. A record that waited for nothing else is gone then. */
  lift(file: ETCDSnapshotFile, signal: AbortSignal): Promise<ETCDSnapshotFile | undefined>;
  /**
   * The same, but of exactly this version: for whoever has decided by what it says, such as that nobody holds it.
   * @throws SnapshotError `conflict` (retryable) when it has changed since
   */
  liftUnchanged(file: ETCDSnapshotFile, signal: AbortSignal): Promise<ETCDSnapshotFile | undefined>;
}

export interface FinalizerOptions {
  readonly files: Pick<SnapshotFilesApi, 'get' | 'patch'>;
  /** Its full name: `etcd.k3s.cattle.io/snapshot-storage`. */
  readonly finalizer: string;
}

/** The finalizers that a record should have; undefined when it has them. */
type Wish = (file: ETCDSnapshotFile) => readonly string[] | undefined;

export function createFinalizer({ files, finalizer }: FinalizerOptions): Finalizer {
  const withOurs: Wish = (file) =>
    finalizerState(file, finalizer) === 'add' ? [...(file.metadata.finalizers ?? []), finalizer] : undefined;
  const withoutOurs: Wish = ({ metadata: { finalizers } }) =>
    finalizers?.includes(finalizer) ? finalizers.filter((name) => name !== finalizer) : undefined;

  const write = async (file: ETCDSnapshotFile, wish: Wish, signal: AbortSignal) => {
    const value = wish(file);
    if (value === undefined) return file;
    const { name, resourceVersion } = file.metadata;
    const operations: readonly PatchOperation[] = [
      { op: 'test', path: '/metadata/resourceVersion', value: resourceVersion },
      { op: 'add', path: '/metadata/finalizers', value },
    ];
    return files.patch(name, operations, signal);
  };

  const fulfil = async (file: ETCDSnapshotFile, wish: Wish, signal: AbortSignal, unchanged = false) => {
    try {
      return await write(file, wish, signal);
    } catch (error) {
      if (!isSnapshotError(error, 'conflict')) throw error;
      const now = await files.get(file.metadata.name, signal);
      if (now === undefined || now.metadata.uid !== file.metadata.uid) return undefined;
      if (unchanged) throw error;
      return write(now, wish, signal);
    }
  };

  return {
    ensure: (file, signal) => fulfil(file, withOurs, signal),
    lift: (file, signal) => fulfil(file, withoutOurs, signal),
    liftUnchanged: (file, signal) => fulfil(file, withoutOurs, signal, true),
  };
}
