import pMap from 'p-map';
import type { Program } from '../crds/etcd-snapshot-file.ts';
import { asError, isSnapshotError, type SnapshotError } from '../errors.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import { type Contention, createContention } from './contention.ts';
import { type InventoryPlan, type InventoryRecord, planInventory } from './inventory-plan.ts';
import type { RecordEvents, RecordView, RecordWriter } from './ports.ts';

const WRITES_AT_ONCE = 8;
/** A record that was missing in so many passes before that were suspended is believed to be gone. */
const PASSES_TO_BELIEVE = 2;

export interface InventoryParts {
  readonly program: Program;
  readonly store: 'local' | 's3';
  /** Whether a record of that copy has gone since then, on the clock of `monotonic`. */
  readonly wentSince: (snapshot: Snapshot, since: number) => boolean;
  /** What the label of the records of this place says: the node, or `s3`. */
  readonly keeper: string;
  readonly records: RecordView;
  readonly writer: RecordWriter;
  readonly events: RecordEvents;
  /** Records that are known for a shorter time are not removed: their data may not have been there yet when it was listed. */
  readonly youngMs: number;
  /** Looks that shall agree that much has vanished lie at least so far apart: a folder is touched many times in a second. */
  readonly guardMs: number;
  /** Told in each pass how many copies the API server takes no record of, as a rule for their oddity; undefined: it takes all. */
  readonly onRefused: (refused: Refused | undefined) => void;
  /** After each pass: what vanished and stays for the time being, or undefined when there is no such thing. */
  readonly onSuspended: (suspended: Suspended | undefined) => void;
  readonly now: () => Date;
  /** Milliseconds that do not jump. */
  readonly monotonic: () => number;
}

/** So much has vanished at once that no record goes before two more looks agree. */
export interface Suspended {
  /** Records without data. */
  readonly missing: number;
  /** How many speak of data, these included. */
  readonly of: number;
}

export interface Refused {
  readonly copies: number;
  /** Of the first of them. */
  readonly name: string;
  readonly error: SnapshotError;
}

/** What was found in a place, completely: a listing that broke off must not come here. */
export interface Found {
  readonly snapshots: readonly Snapshot[];
  /** When the listing began, on the clock of `Inventory.monotonic`. */
  readonly since: number;
  /** Whether the snapshot is really not there: asked again before its record goes. */
  isGone(name: string, signal: AbortSignal): Promise<boolean>;
  /** Whether a record speaks of this place at all; what does not is left alone. */
  inPlace(record: InventoryRecord): boolean;
}

/** Brings the records of one place into step with what is there. */
export interface Inventory {
  /** Returns how many records it wrote. @throws the first failure, after everything else has been tried */
  reconcile(found: Found, signal: AbortSignal): Promise<number>;
  monotonic(): number;
}

/** Remembers between passes only what the mass-delete guard has to know. */
export function createInventory(parts: InventoryParts): Inventory {
  /** In how many passes, not too soon after each other, each record was among those that vanished. */
  let vanished: ReadonlyMap<string, number> = new Map();
  let countedAt = Number.NEGATIVE_INFINITY;
  // Of S3 there is one at a time, and the Lease sees to that.
  const contention =
    parts.store === 'local' ? createContention(parts.keeper, () => parts.monotonic()) : undefined;
  return {
    monotonic: () => parts.monotonic(),
    async reconcile(found, signal) {
      contention?.assertNone();
      const kept = parts.records.keptBy(parts.keeper);
      const { here: records = [], elsewhere = [] } = Object.groupBy(kept, (record) =>
        found.inPlace(record) ? 'here' : 'elsewhere',
      );
      const at = parts.monotonic();
      const counts = at - countedAt >= parts.guardMs;
      const believed = [...vanished].filter(([, passes]) => counts && passes >= PASSES_TO_BELIEVE);
      const plan = planInventory({
        observed: found.snapshots,
        records,
        elsewhere,
        now: parts.now(),
        monotonicNow: at,
        youngMs: parts.youngMs,
        program: parts.program,
        believed: new Set(believed.map(([name]) => name)),
      });
      const names = plan.suspended?.records.map(({ file }) => file.metadata.name) ?? [];
      const before = vanished;
      vanished = new Map(names.map((name) => [name, (before.get(name) ?? 0) + (counts ? 1 : 0)]));
      if (names.length === 0) countedAt = Number.NEGATIVE_INFINITY;
      else if (counts) countedAt = at;
      warnOfMassDelete(parts, plan);
      return apply(parts, plan, found, contention, signal);
    },
  };
}

/** In each pass: an Event is forgotten after an hour. */
function warnOfMassDelete(parts: InventoryParts, { suspended }: InventoryPlan): void {
  parts.onSuspended(suspended && { missing: suspended.records.length, of: suspended.of });
  const [first] = suspended?.records ?? [];
  if (suspended === undefined || first === undefined) return;
  const place = parts.store === 's3' ? 'S3' : `the snapshot folder of ${parts.keeper}`;
  const { records, of } = suspended;
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
  contention: Contention | undefined,
  signal: AbortSignal,
): Promise<number> {
  const failures: Error[] = [];
  const refused: Refused[] = [];
  let written = 0;
  /** While the watch is cut off nobody has seen what was written, we least of all: to write it again is no fight. */
  const wrote = (what: string, name: string) => {
    if (parts.records.fresh) contention?.wrote(what, name);
  };
  /** @throws what is no fault of this one copy */
  const publish = async (snapshot: Snapshot, write: () => Promise<boolean>): Promise<boolean> => {
    const { name, size, createdAt, metadata } = snapshot;
    try {
      if (await write()) wrote(JSON.stringify([name, size, createdAt, metadata]), name);
      return true;
    } catch (error) {
      if (!isSnapshotError(error, 'protocol')) throw error;
      refused.push({ copies: 1, name, error });
      return false;
    }
  };
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
  /** Whoever deletes a record while its place is listed deletes the data too: what was listed then may be gone. */
  const isThere = async (snapshot: Snapshot) =>
    !parts.wentSince(snapshot, found.since) || !(await found.isGone(snapshot.name, signal));
  await each(plan.create, async (snapshot) => {
    if (!(await isThere(snapshot))) return false;
    return publish(snapshot, () => parts.writer.publish(snapshot, signal));
  });
  await each(plan.update, async ({ record, snapshot }) => {
    if (!(await isThere(snapshot))) return false;
    return publish(snapshot, () => parts.writer.refresh(record, snapshot, signal));
  });
  await each(plan.mark, async ({ record, message }) => {
    await parts.writer.mark(record, message, signal);
    return true;
  });
  await each(plan.remove, async (record) => {
    const { snapshotName, location } = record.file.spec;
    const ofData = location !== '' && found.inPlace(record);
    if (ofData && !(await found.isGone(snapshotName, signal))) return false;
    const released = await parts.writer.release(record, signal);
    if (released) wrote(`no ${snapshotName}`, snapshotName);
    if (released && record.file.status?.error === undefined) {
      const message = `Snapshot ${snapshotName} deleted`;
      parts.events.emit(record.file, 'Normal', 'ETCDSnapshotDeleted', message);
    }
    return released;
  });
  signal.throwIfAborted();
  const [first] = refused;
  parts.onRefused(first && { ...first, copies: refused.length });
  // Not one oddity but a definition of records that is not ours.
  if (first !== undefined && refused.length > 1 && written + plan.inStep === 0) failures.push(first.error);
  if (failures[0] !== undefined) throw failures[0];
  return written;
}
