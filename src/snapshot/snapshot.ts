/** Which program's name stands in labels, annotations and metadata; everything but rke2 uses those of k3s. */
export type Program = 'k3s' | 'rke2';

/** Where the bytes of a snapshot are. An empty path or key stands for "nowhere": the save failed before it had one. */
export type SnapshotLocation = LocalLocation | S3Location;

export interface LocalLocation {
  readonly store: 'local';
  /** Absolute path of the file. */
  readonly path: string;
}

/** What a record shows of an S3 location: enough to find the object again, never a credential. */
export interface S3Location {
  readonly store: 's3';
  readonly endpoint: string;
  /** CA bundle of the endpoint, in the format of `--etcd-s3-endpoint-ca`. */
  readonly endpointCA?: string;
  readonly skipSSLVerify: boolean;
  readonly insecure: boolean;
  readonly region: string;
  readonly bucket: string;
  /** Folder inside the bucket, without leading or trailing slash; may be empty. */
  readonly prefix: string;
  /** Full key of the object: `prefix/name`. */
  readonly key: string;
}

/** What belongs to a snapshot besides its bytes. Everything is optional: a bare etcd knows none of it. */
export interface SnapshotFacts {
  /** UID of the namespace kube-system. */
  readonly clusterId?: string;
  /** First 12 hex digits of the SHA-256 of the server token's password. */
  readonly tokenHash?: string;
  /** Data of the ConfigMap `k3s-etcd-snapshot-extra-metadata`. */
  readonly metadata?: Readonly<Record<string, string>>;
}

export interface SnapshotFailure {
  readonly time: Date;
  readonly message: string;
}

/** One copy of one snapshot: in one store, whole and proven, or (with `failure`) one that did not come to be. */
export interface Snapshot extends SnapshotFacts {
  /** File name, `.zip` included. */
  readonly name: string;
  /** The Kubernetes node that took it. Undefined for an object that does not say so. */
  readonly nodeName: string | undefined;
  /** Whole seconds. */
  readonly createdAt: Date;
  /** Bytes as stored (of the zip, when compressed); 0 for a failed one. */
  readonly size: number;
  readonly compressed: boolean;
  readonly location: SnapshotLocation;
  readonly failure?: SnapshotFailure;
  /** Of an S3 object, without quotes; changes when its content does. */
  readonly etag?: string;
}

/** `file:///path` or `s3://bucket/key`, without percent-encoding; empty for a failed save that had no place yet. */
export function locationUrl(location: SnapshotLocation): string {
  if (location.store === 'local') return location.path === '' ? '' : `file://${location.path}`;
  return location.key === '' ? '' : `s3://${location.bucket}/${location.key}`;
}
