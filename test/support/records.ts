import type { ETCDSnapshotFile } from '../../src/crds/etcd-snapshot-file.ts';
import { connect } from '../../src/kube/client.ts';
import { createSnapshotFilesApi } from '../../src/kube/snapshot-files-api.ts';

/** Records of the snapshots that a node has taken, wherever they are kept. */
export async function recordsOfNode(kubeconfig: string, nodeName: string): Promise<ETCDSnapshotFile[]> {
  await using client = await connect(kubeconfig);
  const found: ETCDSnapshotFile[] = [];
  for await (const file of createSnapshotFilesApi(client).list({}, AbortSignal.timeout(60_000))) {
    if (file.spec.snapshotName.includes(`-${nodeName}-`)) found.push(file);
  }
  return found;
}
