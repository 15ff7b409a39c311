/** etcd's own programs, which do the heavy lifting. */
export interface EtcdTools {
  /** Of etcdutl. @throws SnapshotError `not-found` naming the program and the cure */
  version(signal: AbortSignal): Promise<string>;
  /** Whether etcdutl can raise revisions, which the first releases of 3.5 cannot. @throws as `version` */
  canBump(signal: AbortSignal): Promise<boolean>;
  /**
   * Makes the data folder of a cluster with one member out of a plain snapshot, whose hash is checked in the copy that it makes.
   * `dataDir` must not exist, or be empty. @throws SnapshotError `corrupt` | `disk-full` | `io` | `aborted`
   */
  restore(wanted: RestoreWanted, signal: AbortSignal): Promise<void>;
  /**
   * Starts etcd on such a folder: alone, on a Unix socket of a private folder, without waiting for its disk. Only for folders
   * that are thrown away: a newer etcd changes them so that an older one refuses them.
   */
  start(wanted: StartWanted, signal: AbortSignal): Promise<TemporaryEtcd>;
  /** Of etcd. @throws as `version` */
  etcdVersion(signal: AbortSignal): Promise<string>;
  /**
   * Starts etcd once on a copy of a data folder, in the same way but with its disk, so that it applies what is in its log, forgets
   * all other members, and ends by itself.
   */
  forgetPeers(wanted: StartWanted, signal: AbortSignal): Promise<void>;
  /** Whether a member of an etcd answers at that peer URL, whoever it is. What does not answer soon does not answer. */
  isMember(peerUrl: string, signal: AbortSignal): Promise<boolean>;
}

export interface RestoreWanted {
  readonly snapshot: string;
  readonly dataDir: string;
  readonly member: string;
  readonly peerUrl: string;
  /** Goes into the ids of cluster and member; undefined: etcd's default, for data that are thrown away. */
  readonly clusterToken?: string;
  /** How many revisions are skipped; 0: none. All before are marked as compacted then, so that watchers list anew. */
  readonly bumpRevision: number;
  /** Leaves the hash alone. Only for data that are thrown away, while somebody else proves it. */
  readonly hashIsProven?: boolean;
}

export interface StartWanted {
  readonly dataDir: string;
  /** Exists, and is private to this user; for sockets and the log. */
  readonly runDir: string;
  readonly member: string;
  readonly peerUrl: string;
  /** Bytes that the database may take. */
  readonly quota: number;
}

export interface TemporaryEtcd extends AsyncDisposable {
  /** Ends it in order: what it knows is on the disk then. */
  stop(): Promise<void>;
  /** Of the program. */
  readonly version: string;
  /** Number of keys from `from` up to, and without, `to`. */
  count(from: string, to: string, signal: AbortSignal): Promise<number>;
  /** The first key from `from` on, before `to`. */
  firstKey(from: string, to: string, signal: AbortSignal): Promise<string | undefined>;
  /** Latest revision, and the hash over all keys and revisions that members of one cluster compare. */
  hashKV(signal: AbortSignal): Promise<{ readonly hash: number; readonly revision: number }>;
}
