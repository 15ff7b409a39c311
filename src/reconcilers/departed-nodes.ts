import { isS3Record } from '../crds/claim.ts';
import type { Program } from '../crds/etcd-snapshot-file.ts';
import { asError } from '../errors.ts';
import { type InventoryRecord, isMarked, stays } from './inventory-plan.ts';
import type { RecordView, RecordWriter } from './ports.ts';

/** So long are records left alone that came back though their node is missing. */
const REPRIEVE_MS = 24 * 3_600_000;

export interface DepartedNodesParts {
  readonly program: Program;
  readonly nodeName: string;
  readonly records: RecordView;
  readonly writer: RecordWriter;
  /** Whether the cluster has no such node any more. @throws SnapshotError */
  nodeIsGone(name: string, signal: AbortSignal): Promise<boolean>;
  /** A node must be missing for so long: one that is made anew, as at an upgrade, is away for a moment. */
  readonly guardMs: number;
  /** Milliseconds that do not jump. */
  readonly monotonic: () => number;
}

/** A node that the cluster does not have. */
interface Missing {
  readonly since: number;
  /** When its records were let go, and which they were, by UID. */
  readonly released?: { readonly at: number; readonly records: ReadonlySet<string | undefined> };
}

/**
 * Lets go of the local records of nodes that have left the cluster: nobody can reach their disks, and nobody else would
 * ever remove them. For the leader only; a node must be missing in two looks of one term. Data are not touched; a node that
 * comes back with them brings their records back too. When they come back without it, their operator runs on a machine that
 * is no node, as a k3s server without an agent is, and they stay for a day. Records that somebody applied, or has asked
 * something of, only note that their data are out of reach.
 */
export function createDepartedNodes(parts: DepartedNodesParts): (signal: AbortSignal) => Promise<void> {
  let missing = new Map<string, Missing>();
  let term: AbortSignal | undefined;
  /** @throws the first failure, after the other records have been tried */
  const letGo = async (node: string, records: readonly InventoryRecord[], signal: AbortSignal) => {
    const failures: Error[] = [];
    for (const record of records) {
      signal.throwIfAborted();
      try {
        if (!stays(record, parts.program)) await parts.writer.release(record, signal);
        else if (!isMarked(record))
          await parts.writer.mark(record, `node ${node} is not in the cluster`, signal);
      } catch (error) {
        failures.push(asError(error));
      }
    }
    if (failures[0] !== undefined) throw failures[0];
  };
  return async (signal) => {
    const before = term?.aborted ? new Map<string, Missing>() : missing;
    term = signal;
    missing = new Map();
    const failures: Error[] = [];
    for (const [node, records] of recordsByNode(parts)) {
      if (!(await parts.nodeIsGone(node, signal))) continue;
      const known = before.get(node);
      const now = parts.monotonic();
      missing.set(node, known ?? { since: now });
      if (known === undefined || now - known.since < parts.guardMs || isReprieved(known, records, now))
        continue;
      const uids = new Set(records.map(({ file }) => file.metadata.uid));
      missing.set(node, { ...known, released: { at: now, records: uids } });
      await letGo(node, records, signal).catch((error: unknown) => failures.push(asError(error)));
    }
    signal.throwIfAborted();
    if (failures[0] !== undefined) throw failures[0];
  };
}

function recordsByNode(parts: DepartedNodesParts): ReadonlyMap<string, readonly InventoryRecord[]> {
  const local = [...parts.records.all()].filter(
    ({ file }) => !isS3Record(file, parts.program) && !['', parts.nodeName].includes(file.spec.nodeName),
  );
  return Map.groupBy(local, ({ file }) => file.spec.nodeName);
}

function isReprieved({ released }: Missing, records: readonly InventoryRecord[], now: number): boolean {
  if (released === undefined || now - released.at >= REPRIEVE_MS) return false;
  return records.some(({ file }) => !released.records.has(file.metadata.uid));
}
