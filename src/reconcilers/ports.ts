import type { S3Place } from '../crds/claim.ts';
import type { ETCDSnapshotFile } from '../crds/etcd-snapshot-file.ts';
import type { SnapshotError } from '../errors.ts';
import type { SnapshotStore } from '../snapshot/ports.ts';
import type { S3Location, Snapshot } from '../snapshot/snapshot.ts';
import type { InventoryRecord } from './inventory-plan.ts';

/** The records as the watch has shown them: may be a moment behind the API server. */
export interface RecordView {
  /** False until the first whole listing: what is not here may still be there. */
  readonly synced: boolean;
  /** Synced, and the watch goes on: while it does not, what is here may be old. */
  readonly fresh: boolean;
  get(name: string): InventoryRecord | undefined;
  /** Records whose label says that this node (or `s3`) keeps the copy. @param node the node's name, not yet a label value */
  keptBy(node: string): readonly InventoryRecord[];
  /** Records of what is at that location; every node has a disk of its own, and S3 more than one endpoint. */
  at(location: string): readonly InventoryRecord[];
  /** Nodes that have taken snapshots. */
  takenOn(): Iterable<string>;
  all(): Iterable<InventoryRecord>;
}

/** Changes to records. Everything throws as `KubeClient.request` does; `conflict` means: look again and decide anew. */
export interface RecordWriter {
  /** Creates the record of this copy, or makes the existing one say the same. The creation is told as an Event, once. Returns whether anything had to be written. */
  publish(snapshot: Snapshot, signal: AbortSignal): Promise<boolean>;
  /** Makes the record of that copy say what is there; of one that somebody applied, or that bears another name than we give, only the status. Returns as `publish`. */
  refresh(record: InventoryRecord, snapshot: Snapshot, signal: AbortSignal): Promise<boolean>;
  /** Writes into a record whose data is missing that it is so. */
  mark(record: InventoryRecord, message: string, signal: AbortSignal): Promise<void>;
  /**
   * Lets the record go without touching any data: lifts our finalizer first, and deletes it then. Returns whether there
   * still was one to delete.
   */
  release(record: InventoryRecord, signal: AbortSignal): Promise<boolean>;
  /** Adds our finalizer to a record that lives. False while the record is being released: ask again. */
  ensureFinalizer(file: ETCDSnapshotFile, signal: AbortSignal): Promise<boolean>;
  /** Takes our finalizer off; a record that is gone already is fine. */
  liftFinalizer(file: ETCDSnapshotFile, signal: AbortSignal): Promise<void>;
}

/** Tells people what happened to a record (an Event, in Kubernetes). Never fails and never waits. */
export interface RecordEvents {
  emit(file: ETCDSnapshotFile, type: 'Normal' | 'Warning', reason: string, message: string): void;
}

/** What S3 is at this moment: settings may come, change and go while everything runs. */
export type S3View =
  | { readonly state: 'off' }
  /** Switched on, but not usable: Secret missing, values wrong. */
  | { readonly state: 'unavailable'; readonly error: SnapshotError }
  | S3Ready;

export interface S3Ready {
  readonly state: 'ready';
  readonly store: SnapshotStore;
  /**
   * The same for what the leader does for all nodes: every single request is refused (`aborted`) once this process does not
   * lead any more, also when it was frozen in the middle of something and no signal could tell it yet.
   */
  readonly shared: SnapshotStore;
  readonly place: S3Place;
  /** Where an object of that name is, or would be. */
  readonly location: (name: string) => S3Location;
  /** Fires when other settings take the place of these: what is looked at is out of date then, while an upload goes on to its end. */
  readonly outdated: AbortSignal;
  /** How many scheduled snapshots of each node stay; below 1: all. */
  readonly retention: number;
  /**
   * Since when place and retention are as they are, in this process: whether it has led all the time does not matter, nor do other
   * keys for the same place.
   */
  readonly ruledSince: Date;
}

export type DeletionPolicy = 'Delete' | 'Retain';
