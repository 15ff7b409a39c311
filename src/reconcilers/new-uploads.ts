import type { RetentionPlan } from '../snapshot/retention.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';

/** A save that succeeded is what drives old snapshots out; not a listing, other settings, or another leader. */
export interface NewUpload {
  /** Only a snapshot that was begun later is one. */
  readonly since: Date;
  /** Its record must be so much younger than that of what it drives out: what was recorded with it was just found, and nobody has seen it. */
  readonly apartMs: number;
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
