import type { RestoreOrder } from '../config/restore-settings.ts';
import type { DatabaseFacts } from './database.ts';
import type { Obstacle } from './order.ts';
import type { EtcdTools } from './ports.ts';
import { isNewer, writtenBy } from './versions.ts';

/** Whether etcdutl understands the snapshot, and can do what is wanted of it. @throws as `EtcdTools.version` */
export async function versionObstacles(
  order: RestoreOrder,
  database: DatabaseFacts | undefined,
  tools: EtcdTools,
  { obstacles, notes }: { readonly obstacles: Obstacle[]; readonly notes: string[] },
  signal: AbortSignal,
): Promise<void> {
  const etcdutl = await tools.version(signal);
  if (database === undefined) return;
  const written = writtenBy(database);
  if (written === undefined) {
    notes.push('the snapshot does not say which etcd wrote it: it is older than etcd 3.5');
  } else if (isNewer(written, etcdutl)) {
    obstacles.push({
      what: `the snapshot is of etcd ${written}, and etcdutl is ${etcdutl}`,
      cure: 'name a folder with etcdutl of that version or newer with --etcd-tools',
    });
    return;
  }
  if (order.bumpRevision > 0 && !(await tools.canBump(signal))) {
    obstacles.push({
      what: `etcdutl ${etcdutl} cannot raise the revision: it knows no --bump-revision and --mark-compacted`,
      cure: 'name a folder with a newer etcdutl with --etcd-tools, or go without by --bump-revision=0',
    });
  }
}
