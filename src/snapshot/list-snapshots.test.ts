import { describe, expect, it } from 'vitest';
import { SnapshotError } from '../errors.ts';
import { listSnapshots } from './list-snapshots.ts';
import type { SnapshotStore } from './ports.ts';
import type { Snapshot } from './snapshot.ts';

function snapshot(name: string, seconds: number, store: 'local' | 's3' = 'local'): Snapshot {
  const location: Snapshot['location'] =
    store === 'local'
      ? { store, path: `/s/${name}` }
      : {
          store,
          endpoint: 'e',
          region: 'r',
          bucket: 'b',
          prefix: '',
          key: name,
          skipSSLVerify: false,
          insecure: false,
        };
  return { name, nodeName: 'n', createdAt: new Date(seconds * 1000), size: 544, compressed: false, location };
}

function storeOf(list: () => Promise<readonly Snapshot[]>): () => Promise<SnapshotStore> {
  const refuse = () => Promise.reject(new Error('not part of listing'));
  return async () => ({
    kind: 'local',
    list,
    put: refuse,
    stat: refuse,
    open: refuse,
    remove: refuse,
    sweep: refuse,
  });
}

describe('listSnapshots', () => {
  it('orders by time, then name, then store', async () => {
    const disk = storeOf(async () => [snapshot('b', 2), snapshot('c', 1), snapshot('a', 2)]);
    const s3 = storeOf(async () => [snapshot('a', 2, 's3'), snapshot('old', 0, 's3')]);
    const { snapshots, failures } = await listSnapshots([s3, disk], new AbortController().signal);
    expect(snapshots.map((one) => `${one.name}@${one.location.store}`)).toEqual([
      'old@s3',
      'c@local',
      'a@local',
      'a@s3',
      'b@local',
    ]);
    expect(failures).toEqual([]);
  });

  it('lists the disk although S3 fails, and says so', async () => {
    const away = new SnapshotError('unavailable', 'S3 is away');
    const stores = [storeOf(async () => [snapshot('a', 1)]), storeOf(() => Promise.reject(away))];
    const { snapshots, failures } = await listSnapshots(stores, new AbortController().signal);
    expect(snapshots).toHaveLength(1);
    expect(failures).toEqual([away]);
  });
});
