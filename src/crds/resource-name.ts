import { createHash } from 'node:crypto';
import { S3_NODE } from './etcd-snapshot-file.ts';

/** Longest name of a Kubernetes object. */
const MAX_NAME = 253;
/** `local-` before and `-` with six digits after the snapshot's name. */
const AFFIXES = 13;
/** Leaves room in a fallback name for `etcd-snapshot-`, seconds and `.zip`. */
const MAX_FALLBACK_NODE = 200;
const MAX_LABEL = 63;
const DIGEST_DIGITS = 6;

const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const LABEL_VALUE = /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;

export interface NamedSnapshot {
  readonly snapshotName: string;
  /** `s3` for an S3 copy. */
  readonly nodeName: string;
  /** Uploading node, in the records of S3 copies that newer k3s writes. We leave it out. */
  readonly nodeSource?: string;
  readonly location: string;
  readonly createdAt: Date;
  readonly compressed: boolean;
}

/**
 * The name that k3s gives the record of this copy: the same copy has the same name whoever records it.
 * A snapshot name that Kubernetes would refuse is replaced by one made of node and time.
 */
export function resourceName(snapshot: NamedSnapshot): string {
  const source = snapshot.nodeSource || snapshot.nodeName;
  const store = snapshot.nodeName === S3_NODE ? 's3' : 'local';
  return `${store}-${middle(snapshot, source)}-${digest(source + snapshot.location)}`;
}

function middle(snapshot: NamedSnapshot, source: string): string {
  const lower = snapshot.snapshotName.toLowerCase();
  if (SUBDOMAIN.test(lower) && lower.length + AFFIXES <= MAX_NAME) return lower;
  const seconds = Math.floor(snapshot.createdAt.getTime() / 1000);
  return `etcd-snapshot-${hostPart(source)}-${seconds}${snapshot.compressed ? '.zip' : ''}`;
}

/** The node up to its first dot; only names that no Kubernetes node can have are changed further. */
function hostPart(node: string): string {
  const host = node.split('.', 1)[0] ?? '';
  return host
    .toLowerCase()
    .replaceAll(/[^-a-z0-9]/g, '-')
    .slice(0, MAX_FALLBACK_NODE);
}

/**
 * The node as a label value. Names of more than 63 characters, which Kubernetes takes for nodes but not for
 * labels, are cut and end in a digest of the whole; so are names with characters that a label must not have.
 */
export function storageNodeLabel(nodeName: string): string {
  if (nodeName.length <= MAX_LABEL && LABEL_VALUE.test(nodeName)) return nodeName;
  const kept = nodeName
    .replaceAll(/[^-A-Za-z0-9_.]/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, MAX_LABEL - DIGEST_DIGITS - 1);
  return kept === '' ? digest(nodeName) : `${kept}-${digest(nodeName)}`;
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, DIGEST_DIGITS);
}
