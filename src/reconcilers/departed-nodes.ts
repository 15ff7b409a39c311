import { isS3Record } from '../crds/claim.ts';
import type { Program } from '../crds/etcd-snapshot-file.ts';
import type { InventoryRecord } from './inventory-plan.ts';
import type { RecordView, RecordWriter } from './ports.ts';

export interface DepartedNodesParts {
  readonly program: Program;
  readonly nodeName: string;
  readonly records: RecordView;
  readonly writer: RecordWriter;
  /** Whether the cluster has no such node any more. @throws SnapshotError */
  nodeIsGone(name: string, signal: AbortSignal): Promise<boolean>;
}

/**
 * Lets go of the local records of nodes that have left the cluster: nobody can reach their disks, and nobody else would
 * ever remove them. For the leader only. A node must be missing twice in a row: one that is made anew, as at an upgrade,
 * is away for a moment. Data are not touched; a node that comes back with them brings their records back too.
 */
export function createDepartedNodes(parts: DepartedNodesParts): (signal: AbortSignal) => Promise<void> {
  let missing = new Set<string>();
  return async (signal) => {
    const byNode = new Map<string, InventoryRecord[]>();
    for (const record of parts.records.all()) {
      const { nodeName } = record.file.spec;
      if (isS3Record(record.file, parts.program) || nodeName === parts.nodeName || record.applied) continue;
      byNode.set(nodeName, [...(byNode.get(nodeName) ?? []), record]);
    }
    const now = new Set<string>();
    for (const [node, records] of byNode) {
      if (!(await parts.nodeIsGone(node, signal))) continue;
      now.add(node);
      if (!missing.has(node)) continue;
      for (const record of records) await parts.writer.release(record, signal);
    }
    missing = now;
  };
}
