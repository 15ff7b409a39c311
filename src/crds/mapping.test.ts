import { describe, expect, it } from 'vitest';
import { problems, snapshotFileCrd } from '../../test/support/crd-validator.ts';
import { SnapshotError } from '../errors.ts';
import type { S3Location, Snapshot } from '../snapshot/snapshot.ts';
import type { ETCDSnapshotFile } from './etcd-snapshot-file.ts';
import { fromSnapshotFile, toListItem, toListKey, toSnapshotFile } from './mapping.ts';

const name = 'on-demand-k3s-server-1-1730308816';
const createdAt = new Date('2024-10-30T17:20:16Z');

const local: Snapshot = {
  name,
  nodeName: 'k3s-server-1',
  createdAt,
  size: 2_891_808,
  compressed: false,
  location: { store: 'local', path: `/var/lib/rancher/k3s/server/db/snapshots/${name}` },
  tokenHash: 'b4b83cda3099',
};

const s3Location: S3Location = {
  store: 's3',
  endpoint: 's3.example.com',
  skipSSLVerify: true,
  insecure: false,
  region: 'us-east-1',
  bucket: 'etcd',
  prefix: 'k3s-test',
  key: `k3s-test/${name}`,
};
const s3: Snapshot = { ...local, location: s3Location };

const failure = { time: createdAt, message: 'failed to initialize S3 client: no such host' };
const failedS3: Snapshot = { ...s3, size: 0, location: { ...s3Location, key: '' }, failure };
const failedLocal: Snapshot = { ...local, size: 0, location: { store: 'local', path: '' }, failure };
const withEverything: Snapshot = {
  ...s3,
  name: `${name}.zip`,
  compressed: true,
  metadata: { team: 'platform' },
  location: { ...s3Location, insecure: true, endpointCA: 'Q0E=', key: `k3s-test/${name}.zip` },
};

describe('toSnapshotFile', () => {
  it('writes the local record of the seed', () => {
    expect(toSnapshotFile(local, 'k3s')).toEqual({
      apiVersion: 'k3s.cattle.io/v1',
      kind: 'ETCDSnapshotFile',
      metadata: {
        name: `local-${name}-3e9290`,
        labels: { 'etcd.k3s.cattle.io/snapshot-storage-node': 'k3s-server-1' },
        annotations: { 'etcd.k3s.cattle.io/snapshot-token-hash': 'b4b83cda3099' },
      },
      spec: {
        snapshotName: name,
        nodeName: 'k3s-server-1',
        location: `file:///var/lib/rancher/k3s/server/db/snapshots/${name}`,
      },
      status: { size: '2891808', creationTime: '2024-10-30T17:20:16Z', readyToUse: true },
    });
  });

  it('writes the S3 record of the seed, and the node that took it as an annotation', () => {
    const file = toSnapshotFile(s3, 'k3s');
    expect(file.metadata).toEqual({
      name: `s3-${name}-79b15c`,
      labels: { 'etcd.k3s.cattle.io/snapshot-storage-node': 's3' },
      annotations: {
        'etcd.k3s.cattle.io/snapshot-token-hash': 'b4b83cda3099',
        'etcd.k3s.cattle.io/snapshot-source-node': 'k3s-server-1',
      },
    });
    expect(file.spec).toEqual({
      snapshotName: name,
      nodeName: 's3',
      location: `s3://etcd/k3s-test/${name}`,
      s3: {
        endpoint: 's3.example.com',
        skipSSLVerify: true,
        bucket: 'etcd',
        region: 'us-east-1',
        prefix: 'k3s-test',
      },
    });
  });

  it('puts the name of rke2 into its labels and annotations', () => {
    const { labels, annotations } = toSnapshotFile(s3, 'rke2').metadata;
    const keys = [...Object.keys(labels ?? {}), ...Object.keys(annotations ?? {})];
    expect(keys).toEqual([
      'etcd.rke2.cattle.io/snapshot-storage-node',
      'etcd.rke2.cattle.io/snapshot-token-hash',
      'etcd.rke2.cattle.io/snapshot-source-node',
    ]);
  });

  it.each([
    ['local', failedLocal, `local-${name}-dcf0a5`, undefined],
    ['S3', failedS3, `s3-${name}-41242b`, { 'etcd.k3s.cattle.io/snapshot-source-node': 'k3s-server-1' }],
  ])('writes a failed %s save without token hash, place and size', (_, snapshot, crName, annotations) => {
    const file = toSnapshotFile(snapshot, 'k3s');
    expect(file.metadata.name).toBe(crName);
    expect(file.metadata.annotations).toEqual(annotations);
    expect(file.spec.location).toBe('');
    expect(file.status).toEqual({
      size: '0',
      creationTime: '2024-10-30T17:20:16Z',
      readyToUse: false,
      error: { time: '2024-10-30T17:20:16Z', message: failure.message },
    });
  });

  it('records a node whose name is too long for a label, with the whole name in the spec', () => {
    const nodeName = `${'very-long-'.repeat(8)}node`;
    const file = toSnapshotFile({ ...local, nodeName }, 'k3s');
    expect(file.spec.nodeName).toBe(nodeName);
    expect(file.metadata.labels?.['etcd.k3s.cattle.io/snapshot-storage-node']).toHaveLength(63);
  });

  it.each(['s3', '', undefined])('refuses a local copy of the node %j', (nodeName) => {
    expect(() => toSnapshotFile({ ...local, nodeName }, 'k3s')).toThrow(SnapshotError);
  });
});

describe('fromSnapshotFile', () => {
  it.each([
    ['a local copy', local],
    ['an S3 copy', s3],
    ['every member set', withEverything],
    ['an S3 copy that nobody is known to have taken', { ...s3, nodeName: undefined }],
    ['an empty folder', { ...s3, location: { ...s3Location, prefix: '', key: name } }],
  ])('gives back %s', (_, snapshot) => {
    const file = toSnapshotFile(snapshot, 'k3s');
    expect(problems(snapshotFileCrd, file)).toEqual([]);
    expect(fromSnapshotFile(file, 'k3s')).toEqual(snapshot);
  });

  it.each([
    ['local', failedLocal],
    ['S3', failedS3],
  ])('gives back a failed %s save, but for the token hash', (_, snapshot) => {
    const { tokenHash: _dropped, ...rest } = snapshot;
    const file = toSnapshotFile(snapshot, 'rke2');
    expect(problems(snapshotFileCrd, file)).toEqual([]);
    expect(fromSnapshotFile(file, 'rke2')).toEqual(rest);
  });

  it('reads the S3 record of newer k3s: node name in the spec, size in canonical form', () => {
    const file: ETCDSnapshotFile = {
      ...toSnapshotFile({ ...s3, nodeName: undefined }, 'k3s'),
      status: { size: '3M', creationTime: '2024-10-30T17:20:16Z', readyToUse: true },
    };
    const newer = { ...file, spec: { ...file.spec, nodeName: 'k3s-server-2' } };
    expect(fromSnapshotFile(newer, 'k3s')).toEqual({ ...s3, nodeName: 'k3s-server-2', size: 3_000_000 });
  });

  it('gives a failure without a text the text of k3s, and falls back to the time of the object', () => {
    const file: ETCDSnapshotFile = {
      ...toSnapshotFile(failedLocal, 'k3s'),
      metadata: { name: 'x', creationTimestamp: '2024-10-30T17:20:16Z' },
      status: { error: {} },
    };
    expect(fromSnapshotFile(file, 'k3s').failure).toEqual({
      time: createdAt,
      message: 'etcd snapshot failed',
    });
  });
});

describe('list items', () => {
  it.each([
    [local, `local-${name}`],
    [s3, `s3-${name}`],
    [{ ...local, name: 'My_Snap ä-1.zip' }, 'local-My_Snap__-1.zip'],
  ])('carry the key of k3s instead of the name of the record', (snapshot, key) => {
    expect(toListKey(snapshot)).toBe(key);
    const item = toListItem(snapshot, 'k3s');
    expect(item.metadata.name).toBe(key);
    expect(item.spec).toEqual(toSnapshotFile(snapshot, 'k3s').spec);
  });
});
