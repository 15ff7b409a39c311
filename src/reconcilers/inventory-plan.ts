import { type ETCDSnapshotFile, type Program, recordKeys } from '../crds/etcd-snapshot-file.ts';
import { fromSnapshotFile } from '../crds/mapping.ts';
import { locationUrl, type Snapshot } from '../snapshot/snapshot.ts';
import { recordDiffers } from './record-difference.ts';
import { hasWishes } from './wishes.ts';

/** k3s keeps the record of a failure for a day. */
const FAILED_TTL_MS = 24 * 3_600_000;
/** So many may go in one pass without a second look. */
const FEW = 10;
export const MISSING = 'the snapshot is not there';

/** A record as the watch knows it. */
export interface InventoryRecord {
  readonly file: ETCDSnapshotFile;
  /** Somebody else than us or k3s has written its spec: a person or a pipeline. */
  readonly applied: boolean;
  /** When this process came to know this version of it, in milliseconds on a clock that does not jump. */
  readonly seenAt: number;
}

export interface InventoryInput {
  /** Everything that is in the place: a listing that broke off must not come here. */
  readonly observed: readonly Snapshot[];
  /** The records of the place, and only those: of another folder, bucket, endpoint or prefix nothing is known here. */
  readonly records: readonly InventoryRecord[];
  /** Records of other places that nobody looks at. Only those of failures can be judged: there are no data. */
  readonly elsewhere: readonly InventoryRecord[];
  readonly now: Date;
  /** On the clock of `seenAt`. */
  readonly monotonicNow: number;
  /** A record that is known for a shorter time stays: what it speaks of may have come after the place was listed. */
  readonly youngMs: number;
  readonly program: Program;
  /** Names of records that were missing already in the passes before, often enough to be believed gone. */
  readonly believed: ReadonlySet<string>;
}

/** What is to be done so that records and place agree. */
export interface InventoryPlan {
  readonly create: readonly Snapshot[];
  /** What is known of the snapshot from its record, and was not looked up this time, has been filled in. */
  readonly update: readonly { readonly record: InventoryRecord; readonly snapshot: Snapshot }[];
  /** Records that somebody applied, or has asked something of, and whose data are not there: they are told so, and stay. */
  readonly mark: readonly { readonly record: InventoryRecord; readonly message: string }[];
  /** Records without data. No data may be deleted with them: they may have come back meanwhile. */
  readonly remove: readonly InventoryRecord[];
  /** Set when so many records would go at once that it is more likely a mistake; none goes, and none is marked, then. */
  readonly suspended?: {
    /** Those that would go, in order of their names. */
    readonly records: readonly InventoryRecord[];
    /** How many speak of data, these included. */
    readonly of: number;
  };
  /** How many records say exactly what is there. */
  readonly inStep: number;
}

/**
 * Compares a place with its records. Copy and record belong together by location: whoever recorded the copy, and under which
 * name (newer k3s, and people, name records otherwise), no second record is made beside it.
 */
export function planInventory(input: InventoryInput): InventoryPlan {
  const { observed, records, program } = input;
  const ofLocation = Map.groupBy(records, ({ file }) => file.spec.location);
  const found = new Set<InventoryRecord>();
  const create: Snapshot[] = [];
  const update: { readonly record: InventoryRecord; readonly snapshot: Snapshot }[] = [];
  for (const snapshot of observed) {
    const same = ofLocation.get(locationUrl(snapshot.location)) ?? [];
    if (same.length === 0) create.push(snapshot);
    for (const record of same) {
      found.add(record);
      const known = withKnownFacts(snapshot, record, program);
      if (!isLeaving(record) && recordDiffers(known, record, program))
        update.push({ record, snapshot: known });
    }
  }

  const missing = records.filter((record) => !found.has(record) && !isLeaving(record));
  const mark = missing
    .filter((record) => stays(record, program) && !isYoung(record, input) && !isMarked(record))
    .map((record) => ({ record, message: MISSING }));
  const others = missing.filter((record) => !stays(record, program));
  const strange = input.elsewhere.filter((record) => !isLeaving(record) && !stays(record, program));
  const expired = [...others, ...strange].filter(
    (record) => isFailed(record) && isExpired(record, input.now),
  );
  const gone = others.filter((record) => !isFailed(record) && !isYoung(record, input));
  const present = [...found].filter((record) => !isLeaving(record)).length;
  const plan = { create, update, inStep: present - update.length };
  const of = gone.length + present;
  const isBelieved = gone.every(({ file }) => input.believed.has(file.metadata.name));
  if (gone.length > FEW && gone.length * 2 > of && !isBelieved) {
    return { ...plan, mark: [], remove: [], suspended: { records: gone.toSorted(byName), of } };
  }
  return { ...plan, mark, remove: [...expired, ...gone] };
}

/** A listing does not look everything up; what it leaves open is not to be erased. */
function withKnownFacts(snapshot: Snapshot, { file }: InventoryRecord, program: Program): Snapshot {
  const { nodeName, tokenHash, metadata } = fromSnapshotFile(file, program);
  return {
    ...(tokenHash === undefined ? {} : { tokenHash }),
    ...(metadata === undefined ? {} : { metadata }),
    ...snapshot,
    nodeName: snapshot.nodeName ?? nodeName,
  };
}

/** What people have written into it is not to be forgotten when its data are away, perhaps for a moment. */
export function stays({ file, applied }: InventoryRecord, program: Program): boolean {
  return applied || hasWishes(file, recordKeys(program));
}

/** Somebody wants it gone: that is another reconciler's business. */
function isLeaving({ file }: InventoryRecord): boolean {
  return file.metadata.deletionTimestamp !== undefined;
}

function isFailed({ file }: InventoryRecord): boolean {
  return file.status?.error !== undefined;
}

function isExpired({ file }: InventoryRecord, now: Date): boolean {
  const { status, metadata } = file;
  const since = status?.error?.time ?? status?.creationTime ?? metadata.creationTimestamp;
  const time = new Date(since ?? 0).getTime();
  return Number.isNaN(time) || now.getTime() - time >= FAILED_TTL_MS;
}

function isYoung({ seenAt }: InventoryRecord, { monotonicNow, youngMs }: InventoryInput): boolean {
  return monotonicNow - seenAt < youngMs;
}

/** Whoever says already that there is nothing to use is not contradicted. */
export function isMarked(record: InventoryRecord): boolean {
  return isFailed(record) && record.file.status?.readyToUse === false;
}

function byName(a: InventoryRecord, b: InventoryRecord): number {
  const [first, second] = [a.file.metadata.name, b.file.metadata.name];
  if (first === second) return 0;
  return first < second ? -1 : 1;
}
