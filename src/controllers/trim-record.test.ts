import { describe, expect, it } from 'vitest';
import { recordKeys } from '../crds/etcd-snapshot-file.ts';
import { createTrimmer, type RawRecord } from './trim-record.ts';

const keys = recordKeys('k3s');
const s3 = { endpoint: 's3.example.com', bucket: 'etcd', prefix: 'prod', region: 'us-east-1' };

function raw(name: string, metadata: Partial<RawRecord['metadata']> = {}): RawRecord {
  return {
    apiVersion: 'k3s.cattle.io/v1',
    kind: 'ETCDSnapshotFile',
    metadata: {
      name,
      uid: `uid-of-${name}`,
      resourceVersion: '7',
      creationTimestamp: '2026-11-24T10:00:00Z',
      labels: { [keys.storageNode]: 's3' },
      annotations: { [keys.sourceNode]: 'node-a', [keys.etag]: `etag-of-${name}` },
      finalizers: [keys.finalizer],
      ...metadata,
    },
    spec: {
      snapshotName: name,
      nodeName: 's3',
      location: `s3://etcd/prod/${name}`,
      metadata: { team: 'storage' },
      s3: { ...s3 },
    },
    status: { size: '2048', creationTime: '2026-11-24T10:00:00Z', readyToUse: true },
  };
}

/** What the API server notes of somebody who has written the place of a record. */
function writtenBy(manager: string) {
  return { managedFields: [{ manager, fieldsV1: { 'f:spec': { 'f:location': {} } } }] };
}

describe('a trimmed record', () => {
  it('says all that the record says, as long as nobody has added to it', () => {
    expect(createTrimmer('k3s')(raw('a'), 5)).toEqual({ file: raw('a'), applied: false, seenAt: 5 });
  });

  it('keeps a deletion, a hold, a policy and the token hash, which decide about data', () => {
    const metadata = {
      deletionTimestamp: '2026-11-24T11:00:00Z',
      annotations: { [keys.hold]: 'audit', [keys.deletionPolicy]: 'Retain', [keys.tokenHash]: 'abc' },
    };
    expect(createTrimmer('k3s')(raw('a', metadata), 5).file).toEqual(raw('a', metadata));
  });

  it('leaves a failure as it is', () => {
    const failed = { ...raw('a'), status: { readyToUse: false, error: { time: 'then', message: 'why' } } };
    expect(createTrimmer('k3s')(failed, 5).file.status).toEqual(failed.status);
  });

  it('is without what no reconciler reads', () => {
    const { labels = {}, annotations = {} } = raw('a').metadata;
    const rich = raw('a', {
      labels: { ...labels, team: 'storage' },
      annotations: { ...annotations, 'kubectl.kubernetes.io/last-applied-configuration': '{}' },
      ...writtenBy('etcd-snapshot'),
    });
    expect(createTrimmer('k3s')(rich, 5).file).toEqual(raw('a'));
  });

  it.each([
    ['etcd-snapshot', false],
    ['k3s', false],
    ['rke2-supervisor', false],
    ['k3s-supervisor@node-1', false],
    ['k3s-backup-sync', true],
    ['k3sup', true],
    ['etcd-snapshotter', true],
    ['kubectl-client-side-apply', true],
    ['argocd-controller', true],
  ])('tells that %s has applied it: %s', (manager, applied) => {
    expect(createTrimmer('k3s')(raw('a', writtenBy(manager)), 5).applied).toBe(applied);
  });

  it('shares with others what they have in common, and nothing else', () => {
    const trim = createTrimmer('k3s');
    const [a, b] = [trim(raw('a'), 5).file, trim(raw('b'), 5).file];
    expect(b.spec.s3).toBe(a.spec.s3);
    expect(b.metadata.labels).toBe(a.metadata.labels);
    expect(b.metadata.finalizers).toBe(a.metadata.finalizers);
    expect(b).toEqual(raw('b'));
    const elsewhere = { ...raw('c'), spec: { ...raw('c').spec, s3: { ...s3, bucket: 'other' } } };
    expect(trim(elsewhere, 5).file).toEqual(elsewhere);
  });
});
