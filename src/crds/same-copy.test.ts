import { describe, expect, it } from 'vitest';
import type { LocalPlace, S3Place } from './claim.ts';
import type { ETCDSnapshotFile } from './etcd-snapshot-file.ts';
import { isHeldByAnybody, samenessOnDisk, samenessOnS3 } from './same-copy.ts';

const name = 'etcd-snapshot-node-1-1730308816';
const failed = { error: { time: '2024-10-30T17:20:16Z', message: 'no' } };

function record(
  spec: Partial<ETCDSnapshotFile['spec']>,
  rest: Partial<Pick<ETCDSnapshotFile, 'status'>> & { readonly labels?: Record<string, string> } = {},
): ETCDSnapshotFile {
  const { labels = {}, ...status } = rest;
  return {
    apiVersion: 'k3s.cattle.io/v1',
    kind: 'ETCDSnapshotFile',
    metadata: { name: 'it', labels },
    spec: { snapshotName: name, nodeName: 'node-1', location: `file:///var/snapshots/${name}`, ...spec },
    ...status,
  };
}

describe('a record of an object', () => {
  const place: S3Place = { store: 's3', endpoint: 's3.example.com', bucket: 'etcd', prefix: 'prod' };
  const s3 = { endpoint: 's3.example.com', bucket: 'etcd', prefix: 'prod' };
  const location = `s3://etcd/prod/${name}`;

  it.each([
    ['as we write it', { s3, location }],
    ['with a scheme', { s3: { ...s3, endpoint: 'https://s3.example.com/' }, location }],
    ['with the usual port', { s3: { ...s3, endpoint: 's3.example.com:443' }, location }],
    ['with capitals and a last dot', { s3: { ...s3, endpoint: 'S3.Example.COM.' }, location }],
    [
      'with slashes about the prefix',
      { s3: { ...s3, prefix: '/prod/' }, location: `s3://etcd//prod/${name}` },
    ],
    ['of the node that uploaded it, as newer k3s writes it', { s3, location, nodeName: 'node-1' }],
  ])('is of the same copy %s', (_how, spec) => {
    expect(samenessOnS3(record(spec), place, name)).toBe('same');
  });

  it.each([
    ['another host, which may be another name of it', { s3: { ...s3, endpoint: '10.0.0.9:9000' }, location }],
    ['no endpoint', { s3: { bucket: 'etcd', prefix: 'prod' }, location }],
    ['a location only', { location }],
    ['another prefix in one of two places', { s3: { ...s3, prefix: 'other' }, location }],
    ['no place, and no failure', { s3, location: '' }],
  ])('may be of the same copy with %s', (_how, spec) => {
    expect(samenessOnS3(record(spec), place, name)).toBe('perhaps');
  });

  it.each([
    ['another name', { s3, location, snapshotName: 'other-node-1-1' }],
    ['another bucket', { s3: { ...s3, bucket: 'b' }, location: `s3://b/prod/${name}` }],
    ['another folder', { s3: { ...s3, prefix: 'prod-eu' }, location: `s3://etcd/prod-eu/${name}` }],
    ['a file', {}],
  ])('is of another copy with %s', (_how, spec) => {
    expect(samenessOnS3(record(spec), place, name)).toBe('other');
  });

  it('is of no copy when the save has failed', () => {
    expect(samenessOnS3(record({ s3, location: '' }, { status: failed }), place, name)).toBe('other');
  });

  it('is known by the label of either program', () => {
    const labels = { 'etcd.rke2.cattle.io/snapshot-storage-node': 's3' };
    expect(samenessOnS3(record({ location: '' }, { labels }), place, name)).toBe('perhaps');
  });
});

describe('a record of a file', () => {
  const place: LocalPlace = { store: 'local', dir: '/var/snapshots' };
  /** `/linked` is our folder by another path; `/backup` another folder, with a file of that name. */
  const ids = new Map([
    ['/var/snapshots', 'a'],
    ['/linked', 'a'],
    ['/backup', 'b'],
    [`/backup/${name}`, 'c'],
  ]);
  const sameness = (spec: Partial<ETCDSnapshotFile['spec']>, status?: ETCDSnapshotFile['status']) =>
    samenessOnDisk(
      record(spec, status === undefined ? {} : { status }),
      { nodeName: 'node-1', place, identify: async (path) => ids.get(path) },
      name,
    );

  it.each([
    ['same', 'our folder', {}],
    ['same', 'our folder by another path', { location: `file:///linked/${name}` }],
    ['same', 'our folder, written in a roundabout way', { location: `file:///var//x/../snapshots/${name}` }],
    ['perhaps', 'a folder that is not here', { location: `file:///host/snapshots/${name}` }],
    ['perhaps', 'another node', { nodeName: 'node-1.example.com' }],
    ['perhaps', 'no place', { location: '' }],
    ['other', 'another folder, where it is too', { location: `file:///backup/${name}` }],
    ['other', 'another file', { location: 'file:///var/snapshots/other-node-1-1' }],
    ['other', 'another name', { snapshotName: 'other-node-1-1' }],
    ['other', 'an object', { location: `s3://etcd/prod/${name}` }],
  ] as const)('is of the %s copy when it names %s', async (verdict, _what, spec) => {
    expect(await sameness(spec)).toBe(verdict);
  });

  it('is of no copy when the save has failed', async () => {
    expect(await sameness({ location: '' }, failed)).toBe('other');
  });
});

describe('a hold', () => {
  it.each([
    [true, 'etcd.k3s.cattle.io/snapshot-hold', ''],
    [true, 'etcd.rke2.cattle.io/snapshot-hold', 'for the auditor'],
    [false, 'etcd.rke2.cattle.io/snapshot-hold', 'False'],
    [false, 'example.com/snapshot-hold', 'yes'],
  ])('is %s for %s=%j', (held, key, value) => {
    const file = record({});
    const annotated = { ...file, metadata: { ...file.metadata, annotations: { [key]: value } } };
    expect(isHeldByAnybody(annotated)).toBe(held);
  });
});
