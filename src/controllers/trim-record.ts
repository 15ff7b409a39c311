import {
  type ETCDSnapshotFile,
  type Program,
  recordKeys,
  snapshotFileResource,
} from '../crds/etcd-snapshot-file.ts';
import { FIELD_MANAGER } from '../kube/snapshot-files-api.ts';
import type { InventoryRecord } from '../reconcilers/inventory-plan.ts';

/**
 * Writers of records that are no people and no pipelines: we, and the program beside us, whose parts call themselves
 * `k3s-supervisor@<node>`. Tools that are only called after it, `k3s-backup-sync` for one, are somebody's.
 */
const AUTOMATIC = new RegExp(`^(${FIELD_MANAGER}|(k3s|rke2)(-(server|supervisor|controller))?)(@.*)?$`);
/** Nodes and places of a cluster are few; whoever makes up more gets no more memory for it. */
const MOST_SHARED = 1_000;

/** A record as the API server gives it. */
export interface RawRecord extends ETCDSnapshotFile {
  readonly metadata: ETCDSnapshotFile['metadata'] & { readonly managedFields?: readonly ManagedField[] };
}

interface ManagedField {
  readonly manager?: string;
  readonly fieldsV1?: { readonly 'f:spec'?: Readonly<Record<string, unknown>> };
}

/** Whether a person or a pipeline wrote where the copy is: then the record is theirs, and we never delete it. */
function isApplied(managedFields: readonly ManagedField[]): boolean {
  const writers = managedFields.filter(({ fieldsV1 }) => fieldsV1?.['f:spec']?.['f:location'] !== undefined);
  return writers.some(({ manager = '' }) => !AUTOMATIC.test(manager));
}

/** The whole record, but for what the API server notes about who wrote it, and what that tells. */
export function toWholeRecord(raw: RawRecord, seenAt: number): InventoryRecord {
  const { managedFields = [], ...metadata } = raw.metadata;
  return { file: { ...raw, metadata }, applied: isApplied(managedFields), seenAt };
}

/**
 * What is kept of records, of which many thousands are held for as long as the operator runs: what reconcilers read, and no
 * more. Of labels and annotations that is those of `recordKeys`, and of `managedFields`, half of the whole, what they tell.
 * What many records have in common is held once. So a trimmed record must not be written back: whoever changes one changes
 * parts of it, or reads it anew.
 */
export function createTrimmer(program: Program): (raw: RawRecord, seenAt: number) => InventoryRecord {
  const keys = recordKeys(program);
  const labelKeys = [keys.storageNode];
  const annotationKeys = [keys.tokenHash, keys.sourceNode, keys.etag, keys.hold, keys.deletionPolicy];
  const text = createSharing<string>();
  const labelsOf = createSharing<Readonly<Record<string, string>>>();
  const finalizersOf = createSharing<readonly string[]>();
  const placeOf = createSharing<NonNullable<ETCDSnapshotFile['spec']['s3']>>();
  const { apiVersion, kind } = snapshotFileResource;

  return (raw, seenAt) => {
    const { managedFields = [], labels, annotations, finalizers, ...of } = raw.metadata;
    const { name, uid, resourceVersion, creationTimestamp, deletionTimestamp } = of;
    const { nodeName, s3 } = raw.spec;
    const metadata = {
      name,
      ...(uid === undefined ? {} : { uid }),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
      ...(creationTimestamp === undefined ? {} : { creationTimestamp }),
      ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }),
      ...(labels === undefined ? {} : { labels: labelsOf(pick(labels, labelKeys)) }),
      ...(annotations === undefined ? {} : { annotations: pick(annotations, annotationKeys) }),
      ...(finalizers === undefined ? {} : { finalizers: finalizersOf(finalizers) }),
    };
    const spec = { ...raw.spec, nodeName: text(nodeName), ...(s3 === undefined ? {} : { s3: placeOf(s3) }) };
    const { status } = raw;
    return {
      file: { apiVersion, kind, metadata, spec, ...(status === undefined ? {} : { status }) },
      applied: isApplied(managedFields),
      seenAt,
    };
  };
}

function pick(all: Readonly<Record<string, string>>, wanted: readonly string[]): Record<string, string> {
  const picked: Record<string, string> = {};
  for (const key of wanted) {
    const value = all[key];
    if (value !== undefined) picked[key] = value;
  }
  return picked;
}

/** Returns the value that was given before, if it was equal; of values that nobody changes only. */
function createSharing<T>(): (value: T) => T {
  const known = new Map<string, T>();
  return (value) => {
    const key = JSON.stringify(value);
    const same = known.get(key);
    if (same !== undefined) return same;
    if (known.size >= MOST_SHARED) known.clear();
    known.set(key, value);
    return value;
  };
}
