import { SnapshotError } from '../errors.ts';
import { locationUrl, type S3Location, type Snapshot, type SnapshotLocation } from '../snapshot/snapshot.ts';
import {
  type ETCDSnapshotFile,
  type Program,
  recordKeys,
  S3_NODE,
  type SnapshotFileS3,
  type SnapshotFileStatus,
  snapshotFileResource,
} from './etcd-snapshot-file.ts';
import { parseQuantity } from './quantity.ts';
import { resourceName, storageNodeLabel } from './resource-name.ts';

/** What k3s says where a failed record carries no text. */
const UNKNOWN_FAILURE = 'etcd snapshot failed';

/**
 * The record of one copy, as it is written: no finalizer, no resourceVersion.
 * @throws SnapshotError `usage` for a local copy without a node, or of a node called `s3`
 */
export function toSnapshotFile(snapshot: Snapshot, program: Program): ETCDSnapshotFile {
  const nodeName = storageNode(snapshot);
  const location = locationUrl(snapshot.location);
  const annotations = annotationsOf(snapshot, program);
  const { metadata } = snapshot;
  return {
    apiVersion: snapshotFileResource.apiVersion,
    kind: snapshotFileResource.kind,
    metadata: {
      name: resourceName({ ...snapshot, snapshotName: snapshot.name, nodeName, location }),
      labels: { [recordKeys(program).storageNode]: storageNodeLabel(nodeName) },
      ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
    },
    spec: {
      snapshotName: snapshot.name,
      nodeName,
      location,
      ...(metadata === undefined || Object.keys(metadata).length === 0 ? {} : { metadata }),
      ...(snapshot.location.store === 's3' ? { s3: toS3Spec(snapshot.location) } : {}),
    },
    status: toStatus(snapshot),
  };
}

/** The name under which `ls -o json` shows a snapshot: the key of k3s's old ConfigMap, not the record's name. */
export function toListKey(snapshot: Snapshot): string {
  return `${snapshot.location.store}-${snapshot.name.replaceAll(/[^-._a-zA-Z0-9]/g, '_')}`;
}

/** One item of `ls -o json`: the record under its list key. @throws as `toSnapshotFile` */
export function toListItem(snapshot: Snapshot, program: Program): ETCDSnapshotFile {
  // Whose the object is was not looked into for a list.
  const { etag: _, ...listed } = snapshot;
  const file = toSnapshotFile(listed, program);
  return { ...file, metadata: { ...file.metadata, name: toListKey(snapshot) } };
}

/** What a record says about its copy, whether we or any k3s wrote it. A record is a claim: nothing here is checked. */
export function fromSnapshotFile(file: ETCDSnapshotFile, program: Program): Snapshot {
  const keys = recordKeys(program);
  const { spec, status = {} } = file;
  const annotations = file.metadata.annotations ?? {};
  const isS3 = spec.s3 !== undefined || file.metadata.labels?.[keys.storageNode] === S3_NODE;
  const takenBy = annotations[keys.sourceNode] ?? (spec.nodeName === S3_NODE ? undefined : spec.nodeName);
  const tokenHash = annotations[keys.tokenHash];
  const etag = annotations[keys.etag];
  const createdAt = new Date(
    status.creationTime ?? status.error?.time ?? file.metadata.creationTimestamp ?? 0,
  );
  return {
    name: spec.snapshotName,
    nodeName: isS3 ? takenBy : spec.nodeName,
    createdAt,
    size: parseQuantity(status.size ?? 0) ?? 0,
    compressed: spec.snapshotName.endsWith('.zip'),
    location: isS3 ? fromS3Spec(spec.s3 ?? {}, spec.location) : fromFileUrl(spec.location),
    ...(tokenHash === undefined ? {} : { tokenHash }),
    ...(etag === undefined ? {} : { etag }),
    ...(spec.metadata === undefined ? {} : { metadata: spec.metadata }),
    ...(status.error === undefined
      ? {}
      : {
          failure: {
            time: status.error.time === undefined ? createdAt : new Date(status.error.time),
            message: status.error.message || UNKNOWN_FAILURE,
          },
        }),
  };
}

function storageNode(snapshot: Snapshot): string {
  if (snapshot.location.store === 's3') return S3_NODE;
  const { nodeName } = snapshot;
  if (nodeName !== undefined && nodeName !== '' && nodeName !== S3_NODE) return nodeName;
  throw new SnapshotError('usage', `Snapshot ${snapshot.name} cannot be recorded`, {
    why:
      nodeName === S3_NODE
        ? 'records of a node called "s3" would pass for S3 copies'
        : 'its node has no name',
    hint: 'Name the node with --node-name.',
  });
}

function annotationsOf(snapshot: Snapshot, program: Program): Record<string, string> {
  const keys = recordKeys(program);
  const annotations: Record<string, string> = {};
  if (snapshot.tokenHash !== undefined && snapshot.failure === undefined) {
    annotations[keys.tokenHash] = snapshot.tokenHash;
  }
  if (snapshot.location.store === 's3' && snapshot.nodeName !== undefined) {
    annotations[keys.sourceNode] = snapshot.nodeName;
  }
  if (snapshot.etag !== undefined && snapshot.clusterId !== undefined) {
    annotations[keys.etag] = snapshot.etag;
  }
  return annotations;
}

function toStatus(snapshot: Snapshot): SnapshotFileStatus {
  const { failure } = snapshot;
  if (failure === undefined) {
    return { size: String(snapshot.size), creationTime: timestamp(snapshot.createdAt), readyToUse: true };
  }
  const time = timestamp(failure.time);
  return { size: '0', creationTime: time, readyToUse: false, error: { time, message: failure.message } };
}

function toS3Spec(location: S3Location): SnapshotFileS3 {
  const { endpoint, endpointCA, skipSSLVerify, bucket, region, prefix, insecure } = location;
  return {
    ...(endpoint === '' ? {} : { endpoint }),
    ...(endpointCA === undefined || endpointCA === '' ? {} : { endpointCA }),
    ...(skipSSLVerify ? { skipSSLVerify } : {}),
    ...(bucket === '' ? {} : { bucket }),
    ...(region === '' ? {} : { region }),
    ...(prefix === '' ? {} : { prefix }),
    ...(insecure ? { insecure } : {}),
  };
}

function fromS3Spec(s3: SnapshotFileS3, url: string): S3Location {
  const rest = url.replace(/^s3:\/\//, '');
  const slash = rest.indexOf('/');
  return {
    store: 's3',
    endpoint: s3.endpoint ?? '',
    ...(s3.endpointCA === undefined ? {} : { endpointCA: s3.endpointCA }),
    skipSSLVerify: s3.skipSSLVerify ?? false,
    insecure: s3.insecure ?? false,
    region: s3.region ?? '',
    bucket: s3.bucket ?? rest.slice(0, Math.max(slash, 0)),
    prefix: s3.prefix ?? '',
    key: slash < 0 ? '' : rest.slice(slash + 1),
  };
}

function fromFileUrl(url: string): SnapshotLocation {
  return { store: 'local', path: url.replace(/^file:\/\//, '') };
}

/** RFC 3339 in UTC with whole seconds, as Kubernetes writes times. */
function timestamp(time: Date): string {
  return time.toISOString().replace(/\.\d{3}Z$/, 'Z');
}
