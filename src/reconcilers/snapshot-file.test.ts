import { describe, expect, it } from 'vitest';
import {
  type Change,
  createdAt,
  HOLD,
  name,
  onDisk,
  onS3,
  POLICY,
  place,
  reconcile,
  record,
  startReconciler,
  type World,
} from '../../test/support/reconciled-record.ts';
import type { ETCDSnapshotFile } from '../crds/etcd-snapshot-file.ts';
import { SnapshotError } from '../errors.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';

const DELETED = 'Normal ETCDSnapshotDeleted';
const RETAINED = ['Normal ETCDSnapshotRetained', 'lift'];
const REFUSED = ['Warning ETCDSnapshotNotDeleted', 'lift'];

const forged: readonly [string, Snapshot, Partial<ETCDSnapshotFile['spec']>][] = [
  ['a path outside of the folder', onDisk, { location: 'file:///etc/passwd' }],
  ['a name that differs from its location', onDisk, { snapshotName: 'other-node-1-1' }],
  ['another bucket', onS3, { s3: { ...place, bucket: 'other' } }],
  ['another endpoint', onS3, { s3: { ...place, endpoint: 'evil.example.com' } }],
  ['another prefix', onS3, { s3: { ...place, prefix: 'prod-eu' } }],
];

describe('a record that lives', () => {
  it('gets our finalizer from its owner: the node for its disk, the leader for S3', async () => {
    expect(await reconcile(record(onDisk, { deleted: false }))).toEqual(['ensure']);
    expect(await reconcile(record(onS3, { deleted: false }))).toEqual(['ensure']);
  });

  it('is left to its owner by everybody else', async () => {
    expect(await reconcile(record(onS3, { deleted: false }), { leader: false })).toEqual([]);
    const other = record({ ...onDisk, nodeName: 'node-2' }, { deleted: false });
    expect(await reconcile(other)).toEqual([]);
  });
});

describe('a record that lives and claims what is not of our place', () => {
  it.each(forged)('gets no finalizer, and a Warning at once: %s', async (_what, of, spec) => {
    const file = record(of, { spec, deleted: false, finalizers: [] });
    expect(await reconcile(file, { applied: true })).toEqual(['Warning ETCDSnapshotForeign']);
    // Of another k3s there may be thousands, and nobody has to be told of each.
    expect(await reconcile(file)).toEqual([]);
  });

  it('is looked after all the same while S3 cannot tell, and where it was of our place once', async () => {
    const spec = { s3: { ...place, bucket: 'other' } };
    const unknown = record(onS3, { spec, deleted: false, finalizers: [] });
    expect(await reconcile(unknown, { applied: true, s3: 'unavailable' })).toEqual(['ensure']);
    expect(await reconcile(record(onS3, { spec, deleted: false }), { applied: true })).toEqual(['ensure']);
  });

  it('is none when it is of a save that failed before it had a place', async () => {
    const file = record(onDisk, { spec: { location: '' }, deleted: false, finalizers: [] });
    expect(await reconcile(file)).toEqual(['ensure']);
  });
});

describe('a record that somebody deletes', () => {
  it('takes its data with it, before the finalizer is lifted', async () => {
    expect(await reconcile(record(onDisk))).toEqual([`remove local ${name}`, 'lift', DELETED]);
    expect(await reconcile(record(onS3))).toEqual([`remove s3 ${name}`, 'lift', DELETED]);
  });

  it('of a failed save has no data, and nothing is removed', async () => {
    const failure = { time: createdAt, message: 'full' };
    const failed = { ...onDisk, size: 0, failure, location: { store: 'local', path: '' } } as const;
    expect(await reconcile(record(failed))).toEqual(['lift', DELETED]);
  });

  it('is counted, and told as a deletion, only when there was something to delete', async () => {
    const scene = startReconciler(record(onDisk));
    await scene.run();
    expect([scene.counted, scene.messages]).toEqual([['local'], [`Snapshot ${name} deleted`]]);
    const none = startReconciler(record(onDisk), { remove: async () => false });
    await none.run();
    expect([none.counted, none.messages]).toEqual([
      [],
      [`Record of snapshot ${name} removed: there was no copy to delete`],
    ]);
  });

  it('without our finalizer is none of our business', async () => {
    expect(await reconcile(record(onDisk, { finalizers: ['wrangler.cattle.io/other'] }))).toEqual([]);
  });

  it('stays with its data while the store fails, and says so', async () => {
    const away = async () => {
      throw new SnapshotError('unavailable', 'S3 is away', { retryable: true });
    };
    expect(await reconcile(record(onS3), { remove: away })).toEqual([
      `remove s3 ${name}`,
      'Warning ETCDSnapshotDeleteFailed',
      'throws unavailable',
    ]);
    expect(await reconcile(record(onS3), { s3: 'unavailable' })).toEqual([
      'Warning ETCDSnapshotDeleteFailed',
      'throws not-found',
    ]);
  });

  it('stays with its data while S3 keeps them locked: no failure, but told', async () => {
    const locked = async () => {
      throw new SnapshotError('locked', 'Cannot delete it', { why: 'it is locked until tomorrow' });
    };
    expect(await reconcile(record(onS3), { remove: locked })).toEqual([
      `remove s3 ${name}`,
      'Warning ETCDSnapshotLocked',
    ]);
  });

  it('waits for the leader when it is of S3', async () => {
    expect(await reconcile(record(onS3), { leader: false })).toEqual([]);
  });
});

describe('what keeps the data of a deleted record', () => {
  it.each<[string, World, Change, string[]]>([
    ['a hold', {}, { annotations: { [HOLD]: 'true' } }, ['Warning ETCDSnapshotHeld']],
    ['a hold without a value', {}, { annotations: { [HOLD]: '' } }, ['Warning ETCDSnapshotHeld']],
    ['the definition being deleted', { definitionIsGoing: true }, {}, RETAINED],
    [
      'a hold while the definition goes',
      { definitionIsGoing: true },
      { annotations: { [HOLD]: '' } },
      RETAINED,
    ],
    ['the policy of the installation', { policy: 'Retain' }, {}, RETAINED],
    ['the policy of the record', {}, { annotations: { [POLICY]: 'Retain' } }, RETAINED],
    ['that k3s may have deleted the record', { k3s: 'k3s keeps S3 snapshots itself' }, {}, REFUSED],
    ['a policy that nobody knows', {}, { annotations: { [POLICY]: 'keep' } }, REFUSED],
  ])('%s', async (_what, world, change, expected) => {
    expect(await reconcile(record(onDisk, change), world)).toEqual(expected);
    expect(await reconcile(record(onS3, change), world)).toEqual(expected);
  });

  it('is gone when the hold is lifted, or says false', async () => {
    const lifted = record(onDisk, { annotations: { [HOLD]: 'False' } });
    expect(await reconcile(lifted)).toEqual([`remove local ${name}`, 'lift', DELETED]);
  });

  it('the record may delete where the installation retains', async () => {
    const own = record(onDisk, { annotations: { [POLICY]: 'delete' } });
    expect(await reconcile(own, { policy: 'Retain' })).toEqual([`remove local ${name}`, 'lift', DELETED]);
  });

  it.each(forged)('a forged claim: %s', async (_what, of, spec) => {
    expect(await reconcile(record(of, { spec }))).toEqual(REFUSED);
  });

  it('that the object is of another cluster', async () => {
    expect(await reconcile(record(onS3), { objectOf: 'another-cluster' })).toEqual(REFUSED);
    // A failed upload says nothing of an object that is there all the same: it has to say itself that it is ours.
    const failed = record({ ...onS3, size: 0, failure: { time: createdAt, message: 'it was taken' } });
    const removed = [`remove s3 ${name}`, 'lift', DELETED];
    expect(await reconcile(failed, { objectOf: null })).toEqual(REFUSED);
    expect(await reconcile(failed)).toEqual(removed);
    expect(await reconcile(record(onS3), { objectOf: null })).toEqual(removed);
  });

  it('that what carries the name is no snapshot', async () => {
    const link = async () => {
      throw new SnapshotError('foreign', 'Cannot delete it', { why: 'it is no regular file' });
    };
    expect(await reconcile(record(onDisk), { remove: link })).toEqual([`remove local ${name}`, ...REFUSED]);
  });

  it.each([
    ['a hold that was put on it meanwhile', { [HOLD]: '' }, ['Warning ETCDSnapshotHeld']],
    ['a policy that was put on it meanwhile', { [POLICY]: 'Retain' }, RETAINED],
  ])('%s, of which the watch has not told yet', async (_what, annotations, expected) => {
    for (const of of [onDisk, onS3]) {
      expect(await reconcile(record(of), { now: record(of, { annotations }) })).toEqual(expected);
    }
  });

  it('that the record was let go, or is another one by now, of which the watch has not told yet', async () => {
    const another = record(onDisk);
    for (const now of [
      null,
      record(onDisk, { deleted: false }),
      record(onDisk, { finalizers: [] }),
      { ...another, metadata: { ...another.metadata, uid: 'of another one' } },
    ]) {
      expect(await reconcile(record(onDisk), { now })).toEqual([]);
    }
  });

  it('that another record of the same copy lives, held or not, whatever it is called', async () => {
    for (const of of [onDisk, onS3]) {
      const twin = record(of, { deleted: false, annotations: { [HOLD]: '' } });
      const others = [{ ...twin, metadata: { ...twin.metadata, name: 'applied-by-hand' } }];
      expect(await reconcile(record(of), { others })).toEqual(REFUSED);
    }
  });

  it('is not a record of another copy, nor one that is being deleted too, nor a forged one', async () => {
    const twin = record(onS3);
    const elsewhere = { ...twin, spec: { ...twin.spec, s3: { ...place, endpoint: 'other.example.com' } } };
    const others = [
      { ...twin, metadata: { ...twin.metadata, name: 'deleted-too' } },
      record({ ...onS3, name: 'etcd-snapshot-node-1-1' }, { deleted: false }),
      { ...elsewhere, metadata: { name: 'of-another-server' } },
    ];
    expect(await reconcile(record(onS3), { others })).toEqual([`remove s3 ${name}`, 'lift', DELETED]);
    const neighbour = record({ ...onDisk, nodeName: 'node-2' }, { deleted: false });
    const onOtherDisk = { ...neighbour, metadata: { ...neighbour.metadata, name: 'of-node-2' } };
    expect(await reconcile(record(onDisk), { others: [onOtherDisk] })).toEqual([
      `remove local ${name}`,
      'lift',
      DELETED,
    ]);
  });

  it('that S3 is switched off', async () => {
    expect(await reconcile(record(onS3), { s3: 'off' })).toEqual(REFUSED);
  });
});

describe('a deleted record of another node', () => {
  const other = { ...onDisk, nodeName: 'node-2' };

  it('is let go by the leader, and the data are not touched', async () => {
    expect(await reconcile(record(other), { nodeIsGone: true })).toEqual(REFUSED);
  });

  it('is let go by the leader while the definition goes, whether or not its operator is there', async () => {
    expect(await reconcile(record(other), { definitionIsGoing: true })).toEqual(RETAINED);
    expect(await reconcile(record(other), { definitionIsGoing: true, leader: false })).toEqual([]);
  });

  it('is told to wait once its operator has not answered for a minute, with the way out', async () => {
    const scene = startReconciler(record(other));
    await scene.run();
    await scene.timers.advance(59_000);
    await scene.run();
    expect(scene.diary).toEqual([]);
    await scene.timers.advance(1_000);
    await scene.run();
    expect(scene.diary).toEqual(['Warning ETCDSnapshotDeleteFailed']);
  });

  it('that is held is not said to wait for its operator', async () => {
    const scene = startReconciler(record(other, { annotations: { [HOLD]: '' } }));
    await scene.run();
    await scene.timers.advance(120_000);
    await scene.run();
    expect(scene.diary).toEqual([]);
  });

  it('waits while the node is there, and for the leader', async () => {
    expect(await reconcile(record(other))).toEqual([]);
    expect(await reconcile(record(other), { nodeIsGone: true, leader: false })).toEqual([]);
  });
});
