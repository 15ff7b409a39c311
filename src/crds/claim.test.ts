import { describe, expect, it } from 'vitest';
import { claimProblem, isS3Record, type LocalPlace, type S3Place } from './claim.ts';
import type { ETCDSnapshotFile } from './etcd-snapshot-file.ts';

const name = 'etcd-snapshot-node-1-1730308816';
const folder: LocalPlace = { store: 'local', dir: '/var/snapshots' };
const bucket: S3Place = { store: 's3', endpoint: 's3.example.com', bucket: 'etcd', prefix: 'prod' };

function record(spec: Partial<ETCDSnapshotFile['spec']>): ETCDSnapshotFile {
  return {
    apiVersion: 'k3s.cattle.io/v1',
    kind: 'ETCDSnapshotFile',
    metadata: { name: 'it' },
    spec: { snapshotName: name, nodeName: 'node-1', location: `file:///var/snapshots/${name}`, ...spec },
  };
}

const s3 = { endpoint: 's3.example.com', bucket: 'etcd', prefix: 'prod', region: 'us-east-1' };
const onS3 = { nodeName: 's3', location: `s3://etcd/prod/${name}`, s3 };

describe('claimProblem', () => {
  it('finds nothing wrong with a record of the place', () => {
    expect(claimProblem(record({}), folder)).toBeUndefined();
    expect(claimProblem(record(onS3), bucket)).toBeUndefined();
    const root = { ...onS3, location: `s3://etcd/${name}`, s3: { endpoint: s3.endpoint, bucket: 'etcd' } };
    expect(claimProblem(record(root), { ...bucket, prefix: '' })).toBeUndefined();
  });

  it.each<[string, Partial<ETCDSnapshotFile['spec']>]>([
    ['another folder', { location: `file:///etc/${name}` }],
    ['a path that climbs out', { location: `file:///var/snapshots/../${name}` }],
    ['a folder below', { location: `file:///var/snapshots/sub/${name}` }],
    ['another file of the folder', { location: 'file:///var/snapshots/other-node-1-1' }],
    ['a name that climbs out', { snapshotName: '../../etc/passwd', location: 'file:///etc/passwd' }],
    ['a name with a folder', { snapshotName: `sub/${name}`, location: `file:///var/snapshots/sub/${name}` }],
    ['an empty name', { snapshotName: '', location: 'file:///var/snapshots/' }],
    ['a hidden name', { snapshotName: '.lock', location: 'file:///var/snapshots/.lock' }],
    ['no location', { location: '' }],
    ['an object', { location: `s3://etcd/prod/${name}` }],
  ])('refuses a local record that names %s', (_what, spec) => {
    expect(claimProblem(record(spec), folder)).toBeTypeOf('string');
  });

  it.each<[string, Partial<ETCDSnapshotFile['spec']>]>([
    ['another bucket', { s3: { ...s3, bucket: 'other' } }],
    ['another bucket in its location only', { location: `s3://other/prod/${name}` }],
    ['another endpoint', { s3: { ...s3, endpoint: 'evil.example.com' } }],
    ['another prefix', { s3: { ...s3, prefix: 'prod-eu' } }],
    ['no prefix', { s3: { endpoint: s3.endpoint, bucket: s3.bucket } }],
    ['another object', { location: 's3://etcd/prod/other-node-1-1' }],
    ['a deeper object', { location: `s3://etcd/prod/sub/${name}` }],
    ['a sidecar', { snapshotName: `.metadata/${name}`, location: `s3://etcd/prod/.metadata/${name}` }],
    ['a file', { location: `file:///var/snapshots/${name}` }],
  ])('refuses an S3 record that names %s', (_what, spec) => {
    expect(claimProblem(record({ ...onS3, ...spec }), bucket)).toBeTypeOf('string');
  });
});

describe('isS3Record', () => {
  it('goes by spec.s3 or the label, and not by the node', () => {
    expect(isS3Record(record({}), 'k3s')).toBe(false);
    expect(isS3Record(record({ ...onS3, nodeName: 'node-1' }), 'k3s')).toBe(true);
    const failed = record({ location: '' });
    const labels = { 'etcd.k3s.cattle.io/snapshot-storage-node': 's3' };
    expect(isS3Record({ ...failed, metadata: { name: 'it', labels } }, 'k3s')).toBe(true);
  });
});
