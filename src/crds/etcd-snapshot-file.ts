import type { Program } from '../snapshot/snapshot.ts';

export type { Program } from '../snapshot/snapshot.ts';

/** The resource of `deploy/crds/k3s.cattle.io_etcdsnapshotfiles.yaml`; rke2 shares the group with k3s. */
export const snapshotFileResource = {
  group: 'k3s.cattle.io',
  version: 'v1',
  apiVersion: 'k3s.cattle.io/v1',
  kind: 'ETCDSnapshotFile',
  plural: 'etcdsnapshotfiles',
} as const;

/** Stands in `spec.nodeName` and in the storage label of every record of an S3 copy. */
export const S3_NODE = 's3';

export interface RecordKeys {
  /** Label: the node whose disk keeps the copy, or `s3`. */
  readonly storageNode: string;
  /** Annotation: first 12 hex digits of the SHA-256 of the server token's password. */
  readonly tokenHash: string;
  /** Annotation of an S3 record: the node that took the snapshot. Ours; k3s neither writes nor reads it. */
  readonly sourceNode: string;
  /**
   * Annotation of an S3 record: ETag of the object when it was last looked up and found to be of this cluster.
   * Ours; a new leader need not look up what has not changed.
   */
  readonly etag: string;
  /** Annotation that people set: anything but `false` keeps record and data until it is taken away. */
  readonly hold: string;
  /** Annotation that people set: `Delete` or `Retain`, what becomes of the data when the record is deleted. */
  readonly deletionPolicy: string;
  /** Annotations of a node: when its records, or those of S3, were last brought into step. */
  readonly snapshotsTimestamp: Readonly<Record<'local' | 's3', string>>;
  /** Finalizer of ours beside k3s's own, where k3s or RKE2 lifts theirs by itself. */
  readonly finalizer: string;
}

/** Finalizer that k3s sets on its records; where there is no k3s, we set and lift it. */
export const SEED_FINALIZER = 'wrangler.cattle.io/managed-etcd-snapshots-controller';

export function recordKeys(program: Program): RecordKeys {
  const prefix = `etcd.${program}.cattle.io`;
  return {
    storageNode: `${prefix}/snapshot-storage-node`,
    tokenHash: `${prefix}/snapshot-token-hash`,
    sourceNode: `${prefix}/snapshot-source-node`,
    etag: `${prefix}/snapshot-etag`,
    hold: `${prefix}/snapshot-hold`,
    deletionPolicy: `${prefix}/snapshot-deletion-policy`,
    snapshotsTimestamp: {
      local: `${prefix}/local-snapshots-timestamp`,
      s3: `${prefix}/s3-snapshots-timestamp`,
    },
    finalizer: `${prefix}/snapshot-storage`,
  };
}

/** The part of Kubernetes' ObjectMeta that we read or write; whatever else an object carries is kept. */
interface ObjectMeta {
  readonly name: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  /** RFC 3339. */
  readonly creationTimestamp?: string;
  /** RFC 3339; since when somebody wants the object gone. */
  readonly deletionTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly finalizers?: readonly string[];
}

export interface ETCDSnapshotFile {
  readonly apiVersion: typeof snapshotFileResource.apiVersion;
  readonly kind: typeof snapshotFileResource.kind;
  readonly metadata: ObjectMeta;
  readonly spec: SnapshotFileSpec;
  readonly status?: SnapshotFileStatus;
}

interface SnapshotFileSpec {
  readonly snapshotName: string;
  /** The node, or `s3`; newer k3s writes the uploading node for S3 copies too. */
  readonly nodeName: string;
  /** `file://…`, `s3://…`, or empty for a save that failed before it had a place. */
  readonly location: string;
  readonly metadata?: Readonly<Record<string, string>>;
  /** Present exactly for S3 copies. */
  readonly s3?: SnapshotFileS3;
}

/** Empty and false members are left out. */
export interface SnapshotFileS3 {
  readonly endpoint?: string;
  readonly endpointCA?: string;
  readonly skipSSLVerify?: boolean;
  readonly bucket?: string;
  /** `auto`, `dns` or `path`; written by newer k3s only. */
  readonly bucketLookup?: string;
  readonly region?: string;
  readonly prefix?: string;
  readonly insecure?: boolean;
}

export interface SnapshotFileStatus {
  /** Kubernetes quantity of bytes: a number, or a string such as `2891808` or `3M`. */
  readonly size?: string | number;
  /** RFC 3339, whole seconds. */
  readonly creationTime?: string;
  readonly readyToUse?: boolean;
  readonly error?: { readonly time?: string; readonly message?: string };
}
