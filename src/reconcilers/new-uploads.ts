import { SnapshotError } from '../errors.ts';
import type { RetentionPlan } from '../snapshot/retention.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';

/** A save that succeeded is what drives old snapshots out; not a listing, other settings, or another leader. */
export interface NewUpload {
  /** Only a snapshot that was begun later is one. */
  readonly since: Date;
  /** Its record must be so much younger than that of what it drives out: what was recorded with it was just found, and nobody has seen it. */
  readonly apartMs: number;
  readonly waits: Waits;
}

/** What is past retention and waits for a new upload: that it waits for ever must not be silent. */
export interface Waits {
  /** To be told of each plan, and of what may go of it now. @param recordedAt as of `driven` */
  seen(plan: RetentionPlan, going: readonly Snapshot[], recordedAt: (snapshot: Snapshot) => number): void;
  /** How many waited in the last plan. */
  count(): number;
  /** Of a node that has uploaded since and drove nothing out. @param since as of `NewUpload` */
  stuck(since: Date): SnapshotError | undefined;
}

/** What a node had when something of it was first seen to wait. */
interface Wait {
  /** When the last of its snapshots was recorded, in milliseconds. */
  readonly recorded: number;
  /** When the newest of them was begun. */
  readonly begun: number;
}

/** @param apartMs as of `NewUpload` */
export function createWaits(apartMs: number): Waits {
  let since: ReadonlyMap<string | undefined, Wait> = new Map();
  let waiting = 0;
  let stuck: string | undefined;
  return {
    seen({ delete: doomed, keep }, going, recordedAt) {
      const of = Map.groupBy([...doomed, ...keep], ({ snapshot }) => snapshot.nodeName);
      const moving = new Set(going.map(({ nodeName }) => nodeName));
      const idle = doomed.filter(({ snapshot }) => !moving.has(snapshot.nodeName));
      waiting = doomed.length - going.length;
      const before = since;
      since = new Map(
        idle.map(({ snapshot: { nodeName } }) => {
          const all = of.get(nodeName) ?? [];
          const recorded = all.map(({ snapshot }) => recordedAt(snapshot)).filter((at) => !Number.isNaN(at));
          const begun = all.map(({ early, snapshot }) => (early ? 0 : snapshot.createdAt.getTime()));
          const now = { recorded: Math.max(0, ...recorded), begun: Math.max(0, ...begun) };
          return [nodeName, before.get(nodeName) ?? now];
        }),
      );
      // What waited then is older than such an upload by so much: only the clock can say otherwise.
      const isUpload = ({ nodeName, createdAt }: Snapshot) => {
        const first = since.get(nodeName);
        return first !== undefined && createdAt.getTime() > first.begun;
      };
      stuck = keep.find(
        ({ snapshot }) =>
          isUpload(snapshot) &&
          recordedAt(snapshot) >= (since.get(snapshot.nodeName)?.recorded ?? 0) + apartMs,
      )?.snapshot.nodeName;
    },
    count: () => waiting,
    stuck: (ruledSince) => (stuck === undefined ? undefined : drivesNothingOut(stuck, ruledSince)),
  };
}

function drivesNothingOut(nodeName: string, since: Date): SnapshotError {
  return new SnapshotError('unavailable', `Old snapshots of node ${nodeName} stay on S3`, {
    why: `it has uploaded since, but by the names of its snapshots that was before ${since.toISOString().slice(0, 19)}Z, or is still to come`,
    hint: `Check the clocks of node ${nodeName} and of the leader; etcd-snapshot prune deletes what is past retention.`,
    retryable: true,
  });
}

/**
 * What of a plan may go now: where a new upload is asked for, only what one of the same node drives out.
 * @param recordedAt when the snapshot was recorded, in milliseconds on the one clock of the API server; NaN: it was not
 */
export function driven(
  { after }: { readonly after?: NewUpload },
  recordedAt: (snapshot: Snapshot) => number,
): (plan: RetentionPlan) => readonly Snapshot[] {
  return (plan) => {
    const doomed = plan.delete.map(({ snapshot }) => snapshot);
    if (after === undefined) return doomed;
    const uploadedAt = new Map<string | undefined, number>();
    for (const { snapshot, early } of plan.keep) {
      const at = recordedAt(snapshot);
      const { nodeName, createdAt } = snapshot;
      // Of a time that has not come: its clock was wrong, and it may be older than it says.
      if (early || createdAt <= after.since || !(at > (uploadedAt.get(nodeName) ?? 0))) continue;
      uploadedAt.set(nodeName, at);
    }
    return doomed.filter((snapshot) => {
      const upload = uploadedAt.get(snapshot.nodeName);
      return upload !== undefined && upload - recordedAt(snapshot) >= after.apartMs;
    });
  };
}
