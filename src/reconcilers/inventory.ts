import pMap from 'p-map';
import type { Program } from '../crds/etcd-snapshot-file.ts';
import { asError } from '../errors.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import { type InventoryPlan, type InventoryRecord, planInventory } from './inventory-plan.ts';
import type { RecordEvents, RecordView, RecordWriter } from './ports.ts';

const WRITES_AT_ONCE = 8;

export interface InventoryParts {
  readonly program: Program;
  readonly store: 'local' | 's3';
  /** What the label of the records of this place says: the node, or `s3`. */
  readonly keeper: string;
  readonly records: RecordView;
  readonly writer: RecordWriter;
  readonly events: RecordEvents;
  /** Records that are known for a shorter time are not removed: their data may not have been there yet when it was listed. */
  readonly youngMs: number;
  /** Looks that shall agree that much has vanished lie at least so far apart: a folder is touched many times in a second. */
  readonly guardMs: number;
  readonly now: () => Date;
  /** Milliseconds that do not jump. */
  readonly monotonic: () => number;
}

/** What was found in a place, completely: a listing that broke off must not come here. */
export interface Found {
  readonly snapshots: readonly Snapshot[];
  /** Whether the snapshot is really not there: asked again before its record goes. */
  isGone(name: string, signal: AbortSignal): Promise<boolean>;
  /** Whether a record speaks of this place at all; what does not is left alone. */
  inPlace(record: InventoryRecord): boolean;
}

/** Brings the records of one place into step with what is there. */
export interface Inventory {
  /** Returns how many records it wrote. @throws the first failure, after everything else has been tried */
  reconcile(found: Found, signal: AbortSignal): Promise<number>;
}

/** Remembers between passes only what the mass-delete guard has to know. */
export function createInventory(parts: InventoryParts): Inventory {
  let suspended = { passes: 0, names: '', at: Number.NEGATIVE_INFINITY };
  return {
    async reconcile(found, signal) {
      const records = parts.records.keptBy(parts.keeper).filter((record) => found.inPlace(record));
      const at = parts.monotonic();
      const counts = at - suspended.at >= parts.guardMs;
      const plan = planInventory({
        observed: found.snapshots,
        records,
        now: parts.now(),
        monotonicNow: at,
        youngMs: parts.youngMs,
        program: parts.program,
        suspicious: counts ? suspended.passes : Math.max(0, suspended.passes - 1),
      });
      const names = plan.suspended?.records.map(({ file }) => file.metadata.name).join('\n') ?? '';
      if (names === '') suspended = { passes: 0, names, at: Number.NEGATIVE_INFINITY };
      else if (names !== suspended.names) suspended = { passes: 1, names, at };
      else if (counts) suspended = { passes: suspended.passes + 1, names, at };
      warnOfMassDelete(parts, plan);
      return apply(parts, plan, found, signal);
    },
  };
}

function warnOfMassDelete(parts: InventoryParts, plan: InventoryPlan): void {
  const [first] = plan.suspended?.records ?? [];
  if (plan.suspended === undefined || first === undefined) return;
  const place = parts.store === 's3' ? 'S3' : `the snapshot folder of ${parts.keeper}`;
  const { records, of } = plan.suspended;
  parts.events.emit(
    first.file,
    'Warning',
    'ETCDSnapshotsVanished',
    `${records.length} of ${of} snapshots are suddenly missing in ${place}: no record is removed until two more looks agree`,
  );
}

async function apply(
  parts: InventoryParts,
  plan: InventoryPlan,
  found: Found,
  signal: AbortSignal,
): Promise<number> {
  const failures: Error[] = [];
  let written = 0;
  const each = async <T>(items: readonly T[], work: (item: T) => Promise<boolean>) => {
    await pMap(
      items,
      async (item) => {
        if (signal.aborted) return;
        try {
          if (await work(item)) written += 1;
        } catch (error) {
          failures.push(asError(error));
        }
      },
      { concurrency: WRITES_AT_ONCE },
    );
  };
  await each(plan.create, async (snapshot) => {
    await parts.writer.publish(snapshot, signal);
    return true;
  });
  await each(plan.update, async ({ record, snapshot }) => {
    await parts.writer.refresh(record, snapshot, signal);
    return true;
  });
  await each(plan.mark, async ({ record, message }) => {
    await parts.writer.mark(record, message, signal);
    return true;
  });
  await each(plan.remove, async (record) => {
    const { snapshotName, location } = record.file.spec;
    if (location !== '' && !(await found.isGone(snapshotName, signal))) return false;
    const released = await parts.writer.release(record, signal);
    if (released && record.file.status?.error === undefined) {
      const message = `Snapshot ${snapshotName} deleted`;
      parts.events.emit(record.file, 'Normal', 'ETCDSnapshotDeleted', message);
    }
    return released;
  });
  signal.throwIfAborted();
  if (failures[0] !== undefined) throw failures[0];
  return written;
}
