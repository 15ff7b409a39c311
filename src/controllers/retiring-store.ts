import type { SnapshotStore } from '../snapshot/ports.ts';

/** A store that is used for as long as its settings are in force, and by whoever has begun with it before they changed. */
export interface RetiringStore {
  readonly store: SnapshotStore;
  /** Ends its connections as soon as nothing that was asked of it goes on. Who asks later is served all the same. */
  readonly retire: () => void;
}

export function createRetiringStore(inner: SnapshotStore & Disposable): RetiringStore {
  let uses = 0;
  let isRetired = false;
  const endIfUnused = () => {
    if (isRetired && uses === 0) inner[Symbol.dispose]();
  };
  const begin = () => {
    uses += 1;
  };
  const over = () => {
    uses -= 1;
    endIfUnused();
  };
  const used = async <T>(work: () => Promise<T>): Promise<T> => {
    begin();
    try {
      return await work();
    } finally {
      over();
    }
  };
  async function* read(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    begin();
    try {
      yield* bytes;
    } finally {
      over();
    }
  }
  return {
    store: {
      kind: inner.kind,
      put: (upload, signal) => used(() => inner.put(upload, signal)),
      list: (signal, recall) => used(() => inner.list(signal, recall)),
      stat: (name, signal) => used(() => inner.stat(name, signal)),
      open: (name, signal, range) => used(async () => read(await inner.open(name, signal, range))),
      remove: (name, signal) => used(() => inner.remove(name, signal)),
      sweep: (signal) => used(() => inner.sweep(signal)),
    },
    retire() {
      isRetired = true;
      endIfUnused();
    },
  };
}
