import { isDeepStrictEqual } from 'node:util';
import type { ETCDSnapshotFile, Program, SnapshotFileS3 } from '../crds/etcd-snapshot-file.ts';
import { toSnapshotFile } from '../crds/mapping.ts';
import { parseQuantity } from '../crds/quantity.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';

export interface ComparedRecord {
  readonly file: ETCDSnapshotFile;
  /** Somebody else than us or k3s has written its spec. */
  readonly applied: boolean;
}

/**
 * Whether the record would say something else if it were written anew for this copy. Of a record that bears another name
 * than ours, or that somebody applied, only the status is ours to say. What others added to a record is no difference, nor
 * is a size or a time in another spelling.
 */
export function recordDiffers(
  snapshot: Snapshot,
  { file, applied }: ComparedRecord,
  program: Program,
): boolean {
  const wanted = toSnapshotFile(snapshot, program);
  if (statusDiffers(file.status, wanted.status, snapshot.size)) return true;
  if (applied || file.metadata.name !== wanted.metadata.name) return false;
  return (
    !contains(file.metadata.labels, wanted.metadata.labels) ||
    !contains(file.metadata.annotations, wanted.metadata.annotations) ||
    specDiffers(file.spec, wanted.spec)
  );
}

function statusDiffers(
  is: ETCDSnapshotFile['status'],
  wanted: ETCDSnapshotFile['status'],
  size: number,
): boolean {
  return (
    is?.readyToUse !== true ||
    is.error !== undefined ||
    parseQuantity(is.size ?? '') !== size ||
    Date.parse(is.creationTime ?? '') !== Date.parse(wanted?.creationTime ?? '')
  );
}

function specDiffers(is: ETCDSnapshotFile['spec'], wanted: ETCDSnapshotFile['spec']): boolean {
  return (
    is.snapshotName !== wanted.snapshotName ||
    is.nodeName !== wanted.nodeName ||
    is.location !== wanted.location ||
    !isDeepStrictEqual(is.metadata ?? {}, wanted.metadata ?? {}) ||
    !isDeepStrictEqual(plainS3(is.s3), plainS3(wanted.s3))
  );
}

/** Without what is empty or false, which means the same as nothing, and without what only newer k3s writes. */
function plainS3(s3: SnapshotFileS3 = {}): Readonly<Record<string, unknown>> {
  const { bucketLookup: _, ...members } = s3;
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== '' && value !== false));
}

function contains(
  all: Readonly<Record<string, string>> = {},
  part: Readonly<Record<string, string>> = {},
): boolean {
  return Object.entries(part).every(([key, value]) => all[key] === value);
}
