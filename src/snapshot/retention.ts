import { plausibleSnapshotSize } from './integrity.ts';
import { parseCreatedAt } from './naming.ts';
import type { Snapshot } from './snapshot.ts';

/** A name carries its time rounded to a second, half up. */
const ROUNDING_MS = 1_000;
/** Clocks differ by less; a name further ahead tells of one that was wrong. */
const WRONG_CLOCK_MS = 60_000;
/** Records of what was found in one look are made within less. */
const ONE_LOOK_MS = 60_000;

export interface RetentionPolicy {
  /** Base name of the schedule. `on-demand` does not mean `on-demand2`, nor `on-demand-x`. */
  readonly base: string;
  /** How many to keep of each node that took some; below 1 nothing is ever deleted. */
  readonly keep: number;
  /** Only what this node took; what every node took, each counted on its own, unless given. */
  readonly nodeName?: string;
  /** Whose S3 objects may be deleted; without it none may. Of no meaning on disk. */
  readonly clusterId?: string;
  /** Whether somebody asked to keep it, whatever the count. */
  readonly held: (snapshot: Snapshot) => boolean;
  /** Why one must not go now, whatever its place in the count: clocks go wrong, and a new one may look old. */
  readonly spared?: (snapshot: Snapshot) => string | undefined;
  /** A name of a later time was given by a clock that was wrong: it is not counted. Left out, all are. */
  readonly now?: Date;
}

export interface RetentionPlan {
  /** Oldest first. */
  readonly delete: readonly RetentionDecision[];
  /** Newest first. What is in neither list is none of this policy's business. */
  readonly keep: readonly RetentionDecision[];
}

export interface RetentionDecision {
  readonly snapshot: Snapshot;
  /** For people: one clause. */
  readonly why: string;
  /** It stays, since its name is of a time that has not come. */
  readonly early?: true;
}

/**
 * What is to go, so that of each node and store the newest `keep` snapshots of that base name stay, by the time in their names.
 * Only snapshots called exactly `<base>-<node>-<seconds>`, with or without `.zip`, count; none that failed, and none that is
 * plain and has a size that no whole one has, so that these never drive a good one out. Of a zip its size tells nothing. Those that are held, spared or of a time to come stay beside the ones that are counted.
 * In S3 only objects that name our cluster count: a folder may be shared. Nothing else is touched.
 */
export function planRetention(snapshots: readonly Snapshot[], policy: RetentionPolicy): RetentionPlan {
  if (!(policy.keep >= 1)) return { delete: [], keep: [] };
  const most = Math.floor(policy.keep);
  const subject = snapshots.filter((snapshot) => isSubject(snapshot, policy)).toSorted(newestFirst);
  const kept: RetentionDecision[] = [];
  const gone: RetentionDecision[] = [];
  const counted: Snapshot[] = [];
  for (const snapshot of subject) {
    if (policy.held(snapshot)) kept.push({ snapshot, why: 'it is held' });
    else if (isEarly(snapshot, policy)) kept.push({ snapshot, why: EARLY, early: true });
    else counted.push(snapshot);
  }
  for (const [, group] of Map.groupBy(counted, groupOf)) {
    for (const [at, snapshot] of group.entries()) {
      const number = `number ${at + 1} of ${group.length}, newest first, of which ${most} are kept`;
      const spared = at < most ? undefined : policy.spared?.(snapshot);
      const decision = { snapshot, why: spared ?? number };
      (at < most || spared !== undefined ? kept : gone).push(decision);
    }
  }
  return {
    delete: gone.toSorted((a, b) => newestFirst(b.snapshot, a.snapshot)),
    keep: kept.toSorted((a, b) => newestFirst(a.snapshot, b.snapshot)),
  };
}

const EARLY = 'its time has not come yet, so it is not counted';

function isEarly(snapshot: Snapshot, { now }: RetentionPolicy): boolean {
  return now !== undefined && timeOf(snapshot) - now.getTime() > ROUNDING_MS;
}

/** Whether the policy is about this snapshot at all. */
export function isSubject(snapshot: Snapshot, policy: RetentionPolicy): boolean {
  const { name, nodeName, location, clusterId } = snapshot;
  if (nodeName === undefined || nodeName === '') return false;
  if (policy.nodeName !== undefined && nodeName !== policy.nodeName) return false;
  if (snapshot.failure !== undefined || snapshot.size <= 0) return false;
  if (!snapshot.compressed && !plausibleSnapshotSize(snapshot.size)) return false;
  if (location.store === 's3' && (clusterId === undefined || clusterId !== policy.clusterId)) return false;
  const start = `${policy.base}-${nodeName}-`;
  const isTime = /^\d{1,12}(\.zip)?$/.test(name.slice(start.length)) && parseCreatedAt(name) !== undefined;
  return name.startsWith(start) && isTime;
}

/**
 * Names of the snapshots, the one of each node that was recorded last, where that was well after the one with the newest name:
 * its node's clock was wrong when it was taken, or the other's was. They are to be spared.
 * @param recordedAt milliseconds, all by one clock; NaN for what has no record
 */
export function recordedAfterTheNewest(
  snapshots: readonly Snapshot[],
  policy: RetentionPolicy,
  recordedAt: (snapshot: Snapshot) => number,
): ReadonlySet<string> {
  const names = new Set<string>();
  const subject = snapshots.filter((snapshot) => isSubject(snapshot, policy));
  for (const [, ofNode] of Map.groupBy(subject, ({ nodeName }) => nodeName)) {
    const known = ofNode.flatMap((snapshot) => {
      const at = recordedAt(snapshot);
      return Number.isNaN(at) ? [] : [{ snapshot, at }];
    });
    const newest = known.toSorted(
      (a, b) => b.snapshot.createdAt.getTime() - a.snapshot.createdAt.getTime(),
    )[0];
    const last = known.toSorted((a, b) => b.at - a.at)[0];
    if (newest !== undefined && last !== undefined && last.at - newest.at > ONE_LOOK_MS)
      names.add(last.snapshot.name);
  }
  return names;
}

export const RECORDED_LAST = 'it was recorded last, so its time may be wrong';

/** Whether the clock that gave this snapshot its name was ahead by more than clocks differ. */
export function isOfWrongClock({ early, snapshot }: RetentionDecision, now: Date): boolean {
  return early === true && timeOf(snapshot) - now.getTime() >= WRONG_CLOCK_MS;
}

function groupOf({ location, nodeName }: Snapshot): string {
  return `${location.store}/${nodeName}`;
}

/** In milliseconds; what a record or an object says of it besides may be wrong. */
function timeOf({ name, createdAt }: Snapshot): number {
  return (parseCreatedAt(name) ?? createdAt).getTime();
}

function newestFirst(a: Snapshot, b: Snapshot): number {
  const time = timeOf(b) - timeOf(a);
  if (time !== 0) return time;
  if (a.name === b.name) return 0;
  return a.name < b.name ? 1 : -1;
}
