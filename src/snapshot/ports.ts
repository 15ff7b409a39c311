import type { SnapshotError } from '../errors.ts';
import type { Snapshot, SnapshotFacts } from './snapshot.ts';

/** One etcd member's answer to Maintenance.Status. Ids are upper-bounded by 64 bits, hence hex strings. */
export interface MemberStatus {
  readonly endpoint: string;
  readonly memberId: string;
  /** `0` when the member knows no leader. */
  readonly leaderId: string;
  readonly isLearner: boolean;
  /** Alarms of the cluster and other complaints, in etcd's own words. */
  readonly errors: readonly string[];
}

/**
 * The bytes of one snapshot as they arrive: batches of slices, about 1 MiB each, in order.
 * A batch may be read until the next but one is asked for; then its memory is gone, and its slices are empty.
 * The consumer's pace is the producer's pace; ending the iteration early cancels the call.
 */
export interface SnapshotStream extends AsyncIterable<readonly Uint8Array[]> {
  /** Size in bytes that etcd announced for the whole snapshot, its trailing hash included. */
  readonly size: number;
}

/** One etcd member, and only that one: a snapshot is never stitched together from two. */
export interface SnapshotSource {
  /** @throws SnapshotError `unavailable` | `timeout` | `tls` | `protocol` | `unauthenticated` | `forbidden` | `aborted` */
  status(signal: AbortSignal): Promise<MemberStatus>;
  /** Starts the stream; resolves when the first bytes are here. @throws as `status` */
  open(signal: AbortSignal): Promise<SnapshotStream>;
  close(): void;
}

/** Bytes of a snapshot that can be read while, or after, they are written. Never more than what is on disk is read. */
export interface SnapshotBytes {
  /** Best guess of the final size in bytes: exact for a plain snapshot, an upper bound for a compressed one. */
  readonly expectedSize: number;
  /**
   * Fills `into` with the bytes from `position` on, waiting for those that are not written yet.
   * Returns how many there are: fewer than asked only at the end.
   * @throws SnapshotError what ended the writing, when the snapshot will never be whole
   */
  read(into: Uint8Array, position: number, signal: AbortSignal): Promise<number>;
  /** Resolves with the final size once every byte is written and proven; rejects when that will never be. */
  readonly proven: Promise<number>;
}

/** A copy to make: bytes that may still be growing, and what to write beside them. */
export interface SnapshotUpload {
  /** File name, `.zip` included. */
  readonly name: string;
  readonly nodeName: string;
  readonly createdAt: Date;
  readonly compressed: boolean;
  readonly bytes: SnapshotBytes;
  /** Settles early in the save; a store needs it before it can stamp the copy. Never rejects. */
  readonly facts: Promise<SnapshotFacts>;
  /** Called with the bytes that are safely taken so far. */
  readonly onProgress?: (bytes: number) => void;
}

/** What a listing alone tells of an entry. */
export interface ListedEntry {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Without quotes; undefined when the server gives none. */
  readonly etag: string | undefined;
}

/** The snapshot that this entry was found to be when it had the same size and ETag; undefined to have it looked up. */
export interface Recall {
  (entry: ListedEntry): Snapshot | undefined;
  /** Told of each snapshot as soon as it has been looked up: so much of a listing that breaks off was not in vain. */
  readonly lookedUp?: (snapshot: Snapshot) => void;
}

export interface ByteRange {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
}

/**
 * A place that keeps snapshots. The same contract suite (`test/support/store-contract.ts`) runs against each.
 *
 * All methods end early with `aborted` when the signal fires, and leave nothing half-made under a final name.
 */
export interface SnapshotStore {
  readonly kind: 'local' | 's3';
  /**
   * Stores a copy and its metadata sidecar. Resolves only when the copy is durable and its stored size was compared.
   * A failed metadata sidecar is not fatal: it comes back as `warnings`.
   * @throws SnapshotError; whatever was begun has then been undone, or is left for `sweep`
   */
  put(upload: SnapshotUpload, signal: AbortSignal): Promise<StoredSnapshot>;
  /**
   * Every finished snapshot, in no particular order. Temporary and foreign files are never among them.
   * @param recall what the caller knows of an entry from before; a store that has to ask for each entry asks only for
   *   those that are not recalled
   */
  list(signal: AbortSignal, recall?: Recall): Promise<readonly Snapshot[]>;
  /** The snapshot of that name, or undefined. @throws SnapshotError `usage` for a name that is not a plain file name */
  stat(name: string, signal: AbortSignal): Promise<Snapshot | undefined>;
  /** Its bytes, or the part of them that `range` names. @throws SnapshotError `not-found` */
  open(name: string, signal: AbortSignal, range?: ByteRange): Promise<AsyncIterable<Uint8Array>>;
  /**
   * Removes the snapshot and its sidecar; false when there was none. Idempotent.
   * @throws SnapshotError `foreign` when what carries the name is no snapshot, `locked` while the store may not let it go;
   *   it is left as it is
   */
  remove(name: string, signal: AbortSignal): Promise<boolean>;
  /**
   * Removes what dead saves of this node left behind: temporary files, parts of uploads. Returns what went.
   * Only call it while no other save of this node runs (see `SnapshotFolder.lock`).
   */
  sweep(signal: AbortSignal): Promise<readonly string[]>;
}

export interface StoredSnapshot {
  readonly snapshot: Snapshot;
  /** What did not work but does not make the copy worse. */
  readonly warnings: readonly Error[];
}

/** A snapshot to fetch into a file of this node. */
export interface SnapshotDownload {
  /** File name of the snapshot, `.zip` included. */
  readonly name: string;
  /** The file to make. Its folder must exist, on a file system with hard links and room for the snapshot. */
  readonly path: string;
  /** Called with the bytes that are on disk so far, those of an earlier try included, and how many there will be. */
  readonly onProgress?: (bytes: number, size: number) => void;
}

export interface DownloadedSnapshot {
  /** What the store knows of it, metadata included; `location` is where it came from. */
  readonly snapshot: Snapshot;
  /**
   * `sum`: the bytes on disk have the MD5 sums that the store keeps of what was uploaded. `size`: the store keeps none
   * (S3 with sse-kms or sse-c); every byte of one and the same object is there. Neither says that the snapshot is sound:
   * its own hash does.
   */
  readonly verified: 'sum' | 'size';
  /** Bytes that were here already: of a try that broke off, or all of them. */
  readonly resumed: number;
  /** What did not work but does not make the file worse. */
  readonly warnings: readonly Error[];
}

/** A distant place whose snapshots can be fetched. */
export interface SnapshotDownloader {
  /**
   * Fetches a snapshot; what it resolves to is durable. There is never a part of it under `path`: until it is whole and
   * verified the bytes are in hidden siblings `.<file name>.<8 hex>.download` and `.ranges`. Those stay when it is
   * interrupted, or killed, and the next call goes on where it ended; they go when they are of no more use.
   * A file at `path` that has the same bytes already is left as it is, and that is fine.
   * @throws SnapshotError `not-found` | `exists` (`path` holds something else) | `conflict` (replaced while it was read)
   *   | `corrupt` | `disk-full` | `read-only` | `io`, and what an unreachable store gives; `aborted`
   */
  download(wanted: SnapshotDownload, signal: AbortSignal): Promise<DownloadedSnapshot>;
}

/**
 * A snapshot file that is being written under a temporary name. End it with `commit` or `discard`, and dispose of it when
 * nobody reads it any more: followers may still read after `commit`. Disposing of one that has no end yet discards it.
 */
export interface SnapshotDraft extends SnapshotBytes, AsyncDisposable {
  /** Appends; resolves when the kernel has the bytes. One call at a time. @throws SnapshotError `disk-full` | `io` */
  write(chunks: readonly Uint8Array[]): Promise<void>;
  /** Declares the bytes so far to be all and proven: `proven` resolves, followers may finish. */
  prove(): void;
  /**
   * Makes it durable under its final name: fsync, name, fsync of the folder. Interrupted in the fsync, which may be long, it
   * ends at once and there is no final name. @throws SnapshotError `exists` | `disk-full` | `io` | `aborted`
   */
  commit(facts: SnapshotFacts, signal: AbortSignal): Promise<StoredSnapshot>;
  /**
   * Removes it. Followers of one without proof get `reason`; those of a proven one may finish, as after `commit`.
   * Idempotent, and harmless after `commit`.
   */
  discard(reason: SnapshotError | Error): Promise<void>;
}

export interface NewSnapshot {
  readonly name: string;
  readonly nodeName: string;
  readonly createdAt: Date;
  readonly compressed: boolean;
  readonly expectedSize: number;
  /** Whether anybody will `read` what is written: it is held against sums then, which cost time. */
  readonly isFollowed: boolean;
}

/** The snapshot directory of this node. */
export interface SnapshotFolder extends SnapshotStore {
  /**
   * Takes the folder for one save; the kernel gives it back when the process ends, however it ends.
   * @throws SnapshotError `busy` when another process saves into the same folder; folder problems as `create`
   */
  lock(signal: AbortSignal): Promise<AsyncDisposable>;
  /** @throws SnapshotError `exists` | `not-found` | `read-only` | `disk-full` | `io` */
  create(snapshot: NewSnapshot): Promise<SnapshotDraft>;
}

/** Publishes what became of a save, so that others can see it (an ETCDSnapshotFile, in Kubernetes). */
export interface SnapshotRecorder {
  /** What the cluster adds to a snapshot. Never rejects: what cannot be had is left out and told through `onWarning`. */
  facts(signal: AbortSignal): Promise<SnapshotFacts>;
  /** Creates or updates the record of this copy. @throws SnapshotError */
  record(snapshot: Snapshot, signal: AbortSignal): Promise<void>;
}

export interface Clock {
  now(): Date;
}
