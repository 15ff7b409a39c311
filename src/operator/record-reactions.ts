import type { InventoryController } from '../controllers/inventory-controller.ts';
import { keeperOf, type RecordWatchOptions } from '../controllers/record-view.ts';
import { isS3Record } from '../crds/claim.ts';
import type { Program } from '../crds/etcd-snapshot-file.ts';
import { storageNodeLabel } from '../crds/resource-name.ts';
import type { SnapshotError } from '../errors.ts';
import { mayBeOneTooMany } from '../reconcilers/prune.ts';
import type { RecordMemory } from '../reconcilers/record-memory.ts';
import type { Timers } from '../timers.ts';
import { notYet } from './conditions.ts';

/** Files and records come in bursts: a name, a sidecar, a rename. */
export const FOLDER_SETTLES_MS = 100;
/** The nodes of a cluster save within seconds of each other; one listing serves them all. */
const UPLOADS_SETTLE_MS = 5_000;
/** An API server that comes and goes is no reason to list a bucket each time. */
const APART_MS = 10_000;

export interface RecordReactionsParts {
  readonly program: Program;
  readonly nodeName: string;
  /** Base name of the schedule. */
  readonly base: string;
  readonly memory: Pick<RecordMemory, 'changed'>;
  /** Made after the watch. */
  readonly inventory: () => Pick<InventoryController, 'look' | 'lookAfter'>;
  readonly timers: Pick<Timers, 'monotonic'>;
  /** Puts the record into the queue of those that are looked at one by one. */
  readonly enqueue: (name: string) => void;
  readonly report: (part: string, error: SnapshotError | undefined) => void;
  /** The records are known, for the first time or again. */
  readonly onKnown: () => void;
}

/** What follows from changes of records, and of how well they are known. */
export function createRecordReactions(
  parts: RecordReactionsParts,
): Pick<RecordWatchOptions, 'onChange' | 'onState'> & { readonly lookAtRecords: () => void } {
  const { program, memory, timers } = parts;
  const here = storageNodeLabel(parts.nodeName);
  let known = false;
  let fresh = false;
  let lookedAt = Number.NEGATIVE_INFINITY;
  /** Without the records none of these could look. */
  const lookAtRecords = (wait = 0) => {
    for (const look of ['local', 's3', 'departed'] as const) parts.inventory().lookAfter(look, wait);
  };
  return {
    lookAtRecords: () => lookAtRecords(),
    onChange(name, now, before) {
      parts.enqueue(name);
      const dataStay = memory.changed(now, before);
      const record = now ?? before;
      if (record === undefined) return;
      if (!isS3Record(record.file, program)) {
        // Those of other nodes are of other folders.
        const [is, was] = [now, before].map((one) => one && keeperOf(one.file, program));
        if (is === here || was === here) parts.inventory().lookAfter('local', FOLDER_SETTLES_MS);
      } else if (dataStay) parts.inventory().look('s3');
      else if (before === undefined && mayBeOneTooMany(record, parts.base))
        parts.inventory().lookAfter('s3', UPLOADS_SETTLE_MS);
    },
    onState({ synced, error }) {
      parts.report('kubernetes', synced ? error : (error ?? notYet('The records have not been listed yet')));
      const becomes = synced && (!known || (error === undefined && !fresh));
      known ||= synced;
      fresh = synced && error === undefined;
      if (!becomes) return;
      parts.onKnown();
      const at = timers.monotonic();
      // One is due already.
      if (lookedAt > at) return;
      const due = Math.max(at, lookedAt + APART_MS);
      lookedAt = due;
      lookAtRecords(due - at);
    },
  };
}
