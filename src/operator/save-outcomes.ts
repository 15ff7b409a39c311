import { asError, isSnapshotError, SnapshotError } from '../errors.ts';
import type { SnapshotSource, SnapshotStream } from '../snapshot/ports.ts';
import type { RemoteStore } from '../snapshot/save-snapshot.ts';

/** The same source; what goes wrong with it is told too. That all went well only its user knows, who proves the bytes. */
export function watchStreams(
  source: SnapshotSource,
  onFailed: (error: SnapshotError) => void,
): SnapshotSource {
  const watched = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      onFailed(asSnapshotError(error));
      throw error;
    }
  };
  async function* watchedBytes(stream: SnapshotStream): AsyncGenerator<readonly Uint8Array[]> {
    try {
      yield* stream;
    } catch (error) {
      onFailed(asSnapshotError(error));
      throw error;
    }
  }
  return {
    status: (signal) => watched(source.status(signal)),
    async open(signal) {
      const stream = await watched(source.open(signal));
      return { size: stream.size, [Symbol.asyncIterator]: () => watchedBytes(stream) };
    },
    close: () => source.close(),
  };
}

/** The same store; what comes of an upload is told too, unless it was the snapshot itself that never became whole. */
export function watchUploads(
  remote: RemoteStore,
  onUploaded: (error: SnapshotError | undefined) => void,
): RemoteStore {
  return {
    ...remote,
    async open(signal) {
      const store = await remote.open(signal);
      return {
        ...store,
        async put(upload, inner) {
          let spoiled = false;
          upload.bytes.proven.then(undefined, () => {
            spoiled = true;
          });
          try {
            const stored = await store.put(upload, inner);
            onUploaded(undefined);
            return stored;
          } catch (error) {
            if (!spoiled) onUploaded(asSnapshotError(error));
            throw error;
          }
        },
      };
    },
  };
}

function asSnapshotError(thrown: unknown): SnapshotError {
  if (isSnapshotError(thrown)) return thrown;
  return new SnapshotError('io', 'A snapshot failed', { cause: asError(thrown) });
}
