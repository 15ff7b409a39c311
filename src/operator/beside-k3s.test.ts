import { describe, expect, it } from 'vitest';
import { exampleS3Location, exampleSnapshot } from '../../test/support/example-snapshots.ts';
import { fakeTimers } from '../../test/support/fake-clock.ts';
import type { Config } from '../config/types.ts';
import { takenOn } from '../controllers/record-view.ts';
import type { ETCDSnapshotFile } from '../crds/etcd-snapshot-file.ts';
import { toSnapshotFile } from '../crds/mapping.ts';
import type { K3sOnNode } from '../kube/cluster-facts.ts';
import { deletionFacts } from './beside-k3s.ts';

const never = new AbortController().signal;
const NOW = new Date('2024-10-31T12:00:00Z');
const name = 'etcd-snapshot-n1-1730308816';

/** A record that was made at noon, and deleted so many seconds later. */
function deletedAfter(seconds: number, store: 'local' | 's3' = 'local'): ETCDSnapshotFile {
  const s3 = { location: exampleS3Location(name) };
  const file = toSnapshotFile(exampleSnapshot(name, store === 's3' ? s3 : {}), 'k3s');
  const times = {
    creationTimestamp: '2024-10-31T12:00:00Z',
    deletionTimestamp: new Date(NOW.getTime() + seconds * 1000).toISOString(),
  };
  return { ...file, metadata: { ...file.metadata, ...times } };
}

interface World {
  readonly distribution?: Config['distribution'];
  readonly ownFolder?: boolean;
  readonly k3s?: Readonly<Record<string, Partial<K3sOnNode>>>;
  readonly records?: readonly ETCDSnapshotFile[];
}

function facts({ distribution = 'k3s', ownFolder = true, k3s = {}, records = [] }: World) {
  return deletionFacts({
    config: {
      distribution,
      nodeName: 'n1',
      snapshotDir: '/snapshots',
      snapshotDirIsDefault: ownFolder,
    } as unknown as Config,
    program: 'k3s',
    facts: {
      clusterId: async () => 'this-cluster',
      definitionIsGoing: async () => false,
      nodeIsGone: async () => true,
      k3sOn: async (node) => ({ s3Kept: undefined, s3Asked: false, ...k3s[node] }),
    },
    records: { takenOn: () => records.flatMap((file) => takenOn(file, 'k3s') ?? []) },
    clock: fakeTimers(NOW),
    k3sLooksMs: undefined,
  });
}
const reason = (file: ETCDSnapshotFile, world: World = {}) => facts(world).k3sMayHaveDeleted(file, never);

describe('the deletion of a record of a file, beside k3s', () => {
  it('is somebody’s wish once k3s cannot have missed the file: after half a minute', async () => {
    expect(await reason(deletedAfter(29))).toContain('k3s itself deletes');
    expect(await reason(deletedAfter(30))).toBeUndefined();
  });

  it('may be that of k3s for ten minutes where it lists S3 in between', async () => {
    const world = { k3s: { n1: { s3Asked: true } } };
    expect(await reason(deletedAfter(599), world)).toContain('k3s itself deletes');
    expect(await reason(deletedAfter(600), world)).toBeUndefined();
  });

  it('may be that of k3s at all times where the folder is not its own', async () => {
    expect(await reason(deletedAfter(86_400), { ownFolder: false })).toContain('/snapshots');
  });
});

describe('the deletion of a record of S3, beside k3s', () => {
  const file = deletedAfter(86_400, 's3');
  const hoursAgo = (hours: number) => new Date(NOW.getTime() - hours * 3_600_000);

  it.each<[string, Partial<K3sOnNode>, boolean]>([
    ['was started with --etcd-s3, and has not looked there yet', { s3Asked: true }, true],
    ['has looked there within a day', { s3Kept: hoursAgo(23) }, true],
    ['has not looked there for a day', { s3Kept: hoursAgo(25) }, false],
    ['never looks there', {}, false],
  ])('may be that of k3s or not: it %s', async (_what, k3s, may) => {
    expect((await reason(file, { k3s: { n1: k3s } })) !== undefined).toBe(may);
  });

  it('may be that of k3s on another node, which a record names', async () => {
    const k3s = { n2: { s3Asked: true } };
    const ofDisk = toSnapshotFile(exampleSnapshot('etcd-snapshot-n2-1730308816', { nodeName: 'n2' }), 'k3s');
    const ofS3 = toSnapshotFile(
      exampleSnapshot('etcd-snapshot-n2-1730308816', {
        nodeName: 'n2',
        location: exampleS3Location('etcd-snapshot-n2-1730308816'),
      }),
      'k3s',
    );
    expect(await reason(file, { k3s })).toBeUndefined();
    expect(await reason(file, { k3s, records: [ofDisk] })).toContain('node n2');
    expect(await reason(file, { k3s, records: [ofS3] })).toContain('node n2');
  });
});

it.each(['kubeadm', 'custom'] as const)(
  'with %s there is no k3s that could delete records',
  async (distribution) => {
    expect(await reason(deletedAfter(0), { distribution })).toBeUndefined();
    expect(
      await reason(deletedAfter(0, 's3'), { distribution, k3s: { n1: { s3Asked: true } } }),
    ).toBeUndefined();
  },
);

it('members of a custom etcd need not be nodes, so none of them is said to have left the cluster', async () => {
  expect(await facts({ distribution: 'custom' }).nodeIsGone('n2', never)).toBe(false);
  expect(await facts({ distribution: 'kubeadm' }).nodeIsGone('n2', never)).toBe(true);
});
