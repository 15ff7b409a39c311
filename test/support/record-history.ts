import type { ETCDSnapshotFile } from '../../src/crds/etcd-snapshot-file.ts';
import type { KubeClient } from '../../src/kube/client.ts';

const PATH = '/apis/k3s.cattle.io/v1/etcdsnapshotfiles';

export interface RecordChange {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: ETCDSnapshotFile;
}

/** All that happens to the records of a cluster, as an API server that is not disturbed tells it. */
export interface RecordHistory extends AsyncDisposable {
  /** In order, from the beginning of the history on. */
  readonly changes: readonly RecordChange[];
}

export async function followRecords(client: KubeClient): Promise<RecordHistory> {
  const stop = new AbortController();
  const { signal } = stop;
  const changes: RecordChange[] = [];
  const list = await client.request<{ metadata: { resourceVersion: string } }>({
    method: 'GET',
    path: PATH,
    signal,
  });
  const query = { resourceVersion: list.metadata.resourceVersion };
  const follow = async () => {
    for await (const change of client.watch({ path: PATH, query, idleMs: 300_000, signal })) {
      changes.push(change as RecordChange);
    }
  };
  const following = follow().catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
  return {
    changes,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await following;
    },
  };
}
