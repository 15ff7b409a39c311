import { describe, expect, it } from 'vitest';
import { exampleS3Location } from '../../test/support/example-snapshots.ts';
import type { ETCDSnapshotFile } from '../crds/etcd-snapshot-file.ts';
import { toSnapshotFile } from '../crds/mapping.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import { recordDiffers } from './record-difference.ts';

const name = 'etcd-snapshot-n1-1730308816';
const snapshot: Snapshot = {
  name,
  nodeName: 'n1',
  createdAt: new Date(1_730_308_816_000),
  size: 3_000_000,
  compressed: false,
  tokenHash: 'b4b83cda3099',
  metadata: { team: 'platform' },
  location: exampleS3Location(name, { skipSSLVerify: true }),
};
const written = toSnapshotFile(snapshot, 'k3s');
const label = 'etcd.k3s.cattle.io/snapshot-storage-node';
const { s3 = {} } = written.spec;

interface Changes {
  readonly metadata?: Partial<ETCDSnapshotFile['metadata']>;
  readonly spec?: Partial<ETCDSnapshotFile['spec']>;
  readonly status?: Partial<ETCDSnapshotFile['status']>;
}

function changed({ metadata, spec, status }: Changes): ETCDSnapshotFile {
  return {
    ...written,
    metadata: { ...written.metadata, ...metadata },
    spec: { ...written.spec, ...spec },
    status: { ...written.status, ...status },
  };
}

const differs = (file: ETCDSnapshotFile, applied = false) =>
  recordDiffers(snapshot, { file, applied }, 'k3s');

describe('recordDiffers', () => {
  it.each<[string, Changes]>([
    ['as it was written', {}],
    ['with a size as Kubernetes writes it', { status: { size: '3M' } }],
    ['with a size as a number', { status: { size: 3_000_000 } }],
    ['with a time in another spelling', { status: { creationTime: '2024-10-30T18:20:16.000+01:00' } }],
    ['with labels of others', { metadata: { labels: { ...written.metadata.labels, team: 'a' } } }],
    [
      'with annotations of others',
      { metadata: { annotations: { ...written.metadata.annotations, note: 'a' } } },
    ],
    ['with finalizers', { metadata: { finalizers: ['somebody/cares'], resourceVersion: '7' } }],
    ['with the bucket lookup of newer k3s', { spec: { s3: { ...s3, bucketLookup: 'path' } } }],
    [
      'with what is false and empty spelled out',
      { spec: { s3: { ...s3, insecure: false, endpointCA: '' } } },
    ],
  ])('is content with a record %s', (_, changes) => {
    expect(differs(changed(changes))).toBe(false);
  });

  it.each<[string, Changes]>([
    ['another size', { status: { size: '3M1' } }],
    ['another time', { status: { creationTime: '2024-10-30T17:20:17Z' } }],
    ['no readiness', { status: { readyToUse: false } }],
    [
      'an error that is over',
      { status: { error: { time: '2024-10-30T17:20:16Z', message: 'upload failed' } } },
    ],
    ['another label', { metadata: { labels: { [label]: 'n1' } } }],
    ['no label', { metadata: { labels: {} } }],
    ['no annotations', { metadata: { annotations: {} } }],
    ['another node', { spec: { nodeName: 'n1' } }],
    ['another snapshot name', { spec: { snapshotName: 'x' } }],
    ['other metadata', { spec: { metadata: { team: 'other' } } }],
    ['another region', { spec: { s3: { ...s3, region: 'eu-central-1' } } }],
    ['a switch that is off now', { spec: { s3: { ...s3, insecure: true } } }],
    ['no S3', { spec: { s3: {} } }],
  ])('finds %s', (_, changes) => {
    expect(differs(changed(changes))).toBe(true);
  });

  it('finds a record without a status', () => {
    const { status: _, ...bare } = written;
    expect(differs(bare)).toBe(true);
  });

  it('leaves the spec of a record that somebody applied, and keeps its status true', () => {
    const applied = changed({ spec: { s3: {} }, metadata: { labels: {} } });
    expect(differs(applied, true)).toBe(false);
    expect(differs({ ...applied, status: { ...applied.status, size: '1' } }, true)).toBe(true);
  });

  it('leaves the spec of a record that bears another name, and keeps its status true', () => {
    const theirs = changed({ spec: { nodeName: 'n1' }, metadata: { name: `s3-${name}-3b38ed` } });
    expect(differs(theirs)).toBe(false);
    expect(differs({ ...theirs, status: { ...theirs.status, size: '1' } })).toBe(true);
  });
});
