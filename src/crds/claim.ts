import { join } from 'node:path';
import { nameProblem } from '../snapshot/naming.ts';
import { type ETCDSnapshotFile, type Program, recordKeys, S3_NODE } from './etcd-snapshot-file.ts';

/** Where a store keeps snapshots, as its settings say: the one place whose data a record may speak for. */
export type StorePlace = LocalPlace | S3Place;

export interface LocalPlace {
  readonly store: 'local';
  /** Absolute path of the snapshot folder. */
  readonly dir: string;
}

export interface S3Place {
  readonly store: 's3';
  readonly endpoint: string;
  readonly bucket: string;
  /** Folder in the bucket without leading or trailing slash; may be empty. */
  readonly prefix: string;
}

/** Whether the record is of an S3 copy: newer k3s writes the uploading node into `spec.nodeName`, so that decides nothing. */
export function isS3Record(file: ETCDSnapshotFile, program: Program): boolean {
  return file.spec.s3 !== undefined || file.metadata.labels?.[recordKeys(program).storageNode] === S3_NODE;
}

/**
 * Why the data that a record names must not be touched, or undefined when they are exactly one snapshot of `place`.
 * A record is only a claim: anybody who may create one could name any path or object.
 */
export function claimProblem(file: ETCDSnapshotFile, place: StorePlace): string | undefined {
  const { snapshotName, location } = file.spec;
  const ofName = nameProblem(snapshotName);
  if (ofName !== undefined) return `its snapshotName is no file name: ${ofName}`;
  if (place.store === 'local') {
    const expected = `file://${join(place.dir, snapshotName)}`;
    return location === expected ? undefined : `its location is not ${expected}`;
  }
  const s3 = file.spec.s3 ?? {};
  for (const [field, claimed, configured] of [
    ['endpoint', s3.endpoint ?? '', place.endpoint],
    ['bucket', s3.bucket ?? '', place.bucket],
    ['prefix', s3.prefix ?? '', place.prefix],
  ] as const) {
    if (claimed !== configured) {
      return `its s3.${field} is ${JSON.stringify(claimed)}, and ${JSON.stringify(configured)} is configured`;
    }
  }
  const key = place.prefix === '' ? snapshotName : `${place.prefix}/${snapshotName}`;
  const expected = `s3://${place.bucket}/${key}`;
  return location === expected ? undefined : `its location is not ${expected}`;
}
