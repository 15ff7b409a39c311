import { describe, expect, it } from 'vitest';
import { exampleS3Location } from '../../test/support/example-snapshots.ts';
import { isSnapshotError, SnapshotError } from '../errors.ts';
import { deleteSnapshots } from './delete-snapshots.ts';
import type { SnapshotStore } from './ports.ts';
import { pruneSnapshots } from './prune-snapshots.ts';
import type { RetentionPolicy } from './retention.ts';
import type { Snapshot } from './snapshot.ts';

interface Scene {
  readonly store: SnapshotStore;
  /** What is left. */
  readonly names: Set<string>;
  /** What `remove` was called for. */
  readonly asked: string[];
}

/** A store that holds these names, and fails to remove those that have an error. */
function scene(
  names: readonly string[],
  errors: Readonly<Record<string, Error>> = {},
  kind: 'local' | 's3' = 'local',
): Scene {
  const held = new Set(names);
  const asked: string[] = [];
  const refuse = () => Promise.reject(new Error('not part of deleting'));
  const store: SnapshotStore = {
    kind,
    put: refuse,
    stat: async (name) => (held.has(name) ? snapshot(name) : undefined),
    open: refuse,
    sweep: refuse,
    list: async () => [...held].map(snapshot),
    remove: async (name, signal) => {
      asked.push(name);
      signal.throwIfAborted();
      const error = errors[name];
      if (error !== undefined) throw error;
      return held.delete(name);
    },
  };
  return { store, names: held, asked };
}

function snapshot(name: string): Snapshot {
  return {
    name,
    nodeName: 'n1',
    createdAt: new Date(Number(name.split('-').at(-1)) * 1000),
    size: 544,
    compressed: false,
    location: { store: 'local', path: `/s/${name}` },
  };
}

const signal = new AbortController().signal;
const locked = new SnapshotError('forbidden', 'locked until tomorrow');
const away = new SnapshotError('unavailable', 'nobody is there', { retryable: true });

describe('deleteSnapshots', () => {
  it('deletes each name in each store, and says where it was', async () => {
    const disk = scene(['a', 'b']);
    const s3 = scene(['b', 'c'], {}, 's3');
    const result = await deleteSnapshots([disk.store, s3.store], ['c', 'b', 'nowhere', 'b'], signal);
    expect(result).toEqual({
      deleted: [
        { name: 'c', store: 's3' },
        { name: 'b', store: 'local' },
        { name: 'b', store: 's3' },
      ],
      notFound: ['nowhere'],
      failures: [],
    });
    expect([...disk.names, ...s3.names]).toEqual(['a']);
  });

  it('goes on after a failure, and does not call a name unknown that could not be looked for', async () => {
    const disk = scene(['a']);
    const s3 = scene(['a', 'c'], { a: locked, b: locked }, 's3');
    const result = await deleteSnapshots([disk.store, s3.store], ['a', 'b', 'c'], signal);
    expect(result).toEqual({
      deleted: [
        { name: 'a', store: 'local' },
        { name: 'c', store: 's3' },
      ],
      notFound: [],
      failures: [
        { name: 'a', store: 's3', error: locked },
        { name: 'b', store: 's3', error: locked },
      ],
    });
  });

  it.each(['../a', 'sub/a', '', '..', '.metadata', 'a\\b'])(
    'deletes nothing when asked for %j',
    async (name) => {
      const disk = scene(['a']);
      await expect(deleteSnapshots([disk.store], ['a', name], signal)).rejects.toSatisfy((error) =>
        isSnapshotError(error, 'usage'),
      );
      expect([...disk.names]).toEqual(['a']);
    },
  );

  it('asks a store that is away once, and says of each name that it failed', async () => {
    const s3 = scene(['a', 'b', 'c'], { b: away }, 's3');
    const disk = scene(['a', 'b', 'c']);
    const result = await deleteSnapshots([s3.store, disk.store], ['a', 'b', 'c'], signal);
    expect(s3.asked).toEqual(['a', 'b']);
    expect(result.failures.map(({ name, error }) => [name, error.code])).toEqual([
      ['b', 'unavailable'],
      ['c', 'unavailable'],
    ]);
    expect([...disk.names]).toEqual([]);
  });

  it('translates what is no error of ours', async () => {
    const disk = scene(['a'], { a: new TypeError('a bug') });
    const { failures } = await deleteSnapshots([disk.store], ['a'], signal);
    expect(failures[0]?.error).toMatchObject({ code: 'io', why: 'a bug' });
  });
});

describe('pruneSnapshots', () => {
  const policy: RetentionPolicy = { base: 'b', keep: 2, held: () => false };
  const five = [3, 5, 1, 4, 2].map((seconds) => `b-n1-${seconds}`);

  it('deletes from the oldest on what the policy lets go', async () => {
    const disk = scene([...five, 'foreign']);
    const { deleted, failures } = await pruneSnapshots(disk.store, policy, signal);
    expect(deleted.map(({ name }) => name)).toEqual(['b-n1-1', 'b-n1-2', 'b-n1-3']);
    expect(failures).toEqual([]);
    expect(disk.asked).toEqual(['b-n1-1', 'b-n1-2', 'b-n1-3']);
    expect([...disk.names].toSorted()).toEqual(['b-n1-4', 'b-n1-5', 'foreign']);
  });

  it('only says what would go, and why, in a dry run', async () => {
    const disk = scene(five);
    const { plan, deleted } = await pruneSnapshots(disk.store, policy, signal, { dryRun: true });
    expect(plan.delete.map(({ snapshot, why }) => [snapshot.name, why])).toEqual([
      ['b-n1-1', 'number 5 of 5, newest first, of which 2 are kept'],
      ['b-n1-2', 'number 4 of 5, newest first, of which 2 are kept'],
      ['b-n1-3', 'number 3 of 5, newest first, of which 2 are kept'],
    ]);
    expect([deleted, disk.asked]).toEqual([[], []]);
  });

  it('goes on after a failure that is about one snapshot', async () => {
    const disk = scene(five, { 'b-n1-1': locked });
    const { deleted, failures } = await pruneSnapshots(disk.store, policy, signal);
    expect(deleted.map(({ name }) => name)).toEqual(['b-n1-2', 'b-n1-3']);
    expect(failures).toEqual([{ name: 'b-n1-1', store: 'local', error: locked }]);
  });

  it('does not claim what somebody else deleted meanwhile', async () => {
    const disk = scene(five);
    const store = {
      ...disk.store,
      list: async () => {
        const all = await disk.store.list(signal);
        disk.names.delete('b-n1-1');
        return all;
      },
    };
    const { deleted, failures } = await pruneSnapshots(store, policy, signal);
    expect(deleted.map(({ name }) => name)).toEqual(['b-n1-2', 'b-n1-3']);
    expect(failures).toEqual([]);
  });

  it('tells what it did before it was cut off', async () => {
    const abort = new AbortController();
    const disk = scene(five);
    const store = {
      ...disk.store,
      remove: async (name: string, given: AbortSignal) => {
        const removed = await disk.store.remove(name, given);
        abort.abort();
        return removed;
      },
    };
    const { deleted, failures } = await pruneSnapshots(store, policy, abort.signal);
    expect(deleted.map(({ name }) => name)).toEqual(['b-n1-1']);
    expect(failures.map(({ name, error }) => [name, error.code])).toEqual([
      ['b-n1-2', 'aborted'],
      ['b-n1-3', 'aborted'],
    ]);
    expect(disk.asked).toEqual(['b-n1-1']);
  });

  it('deletes nothing when the store cannot be listed', async () => {
    const disk = scene(five);
    const store = { ...disk.store, list: () => Promise.reject(away) };
    await expect(pruneSnapshots(store, policy, signal)).rejects.toBe(away);
    expect(disk.asked).toEqual([]);
  });

  it('lets what has vanished since the listing drive nothing out', async () => {
    const disk = scene(five);
    const store = {
      ...disk.store,
      list: async () => {
        const all = await disk.store.list(signal);
        disk.names.delete('b-n1-5');
        return all;
      },
    };
    const { deleted } = await pruneSnapshots(store, policy, signal);
    expect(deleted.map(({ name }) => name)).toEqual(['b-n1-1', 'b-n1-2']);
  });

  it('leaves what is no longer the snapshot that was listed', async () => {
    const s3 = scene(five, {}, 's3');
    const inS3 = (one: Snapshot): Snapshot => ({
      ...one,
      location: exampleS3Location(one.name),
      clusterId: 'us',
    });
    const store: SnapshotStore = {
      ...s3.store,
      list: async (given) => (await s3.store.list(given)).map(inS3),
      async stat(name, given) {
        const found = await s3.store.stat(name, given);
        if (found === undefined) return undefined;
        return name === 'b-n1-2' ? { ...inS3(found), clusterId: 'them' } : inS3(found);
      },
    };
    const { deleted, failures } = await pruneSnapshots(store, { ...policy, clusterId: 'us' }, signal);
    expect(deleted.map(({ name }) => name)).toEqual(['b-n1-1', 'b-n1-3']);
    expect(failures).toMatchObject([
      { name: 'b-n1-2', error: { code: 'foreign', why: expect.stringContaining('of cluster them') } },
    ]);
  });

  it('asks about each right before it goes, and leaves what is refused', async () => {
    const disk = scene(five);
    const asked: string[][] = [];
    const { deleted, failures } = await pruneSnapshots(disk.store, policy, signal, {
      async mayGo({ name }) {
        asked.push([name, ...disk.asked]);
        if (name === 'b-n1-2') throw locked;
      },
    });
    expect(asked).toEqual([['b-n1-1'], ['b-n1-2', 'b-n1-1'], ['b-n1-3', 'b-n1-1']]);
    expect(deleted.map(({ name }) => name)).toEqual(['b-n1-1', 'b-n1-3']);
    expect(failures).toEqual([{ name: 'b-n1-2', store: 'local', error: locked }]);
  });

  it('spares what was recorded well after the one that seems newest: a clock was wrong', async () => {
    const disk = scene(five);
    const recordedAt = ({ name }: Snapshot) => (name === 'b-n1-1' ? 3_600_000 : 0);
    const { plan, deleted } = await pruneSnapshots(disk.store, policy, signal, { recordedAt });
    expect(deleted.map(({ name }) => name)).toEqual(['b-n1-2', 'b-n1-3']);
    expect(plan.keep.find(({ snapshot }) => snapshot.name === 'b-n1-1')?.why).toContain('recorded last');
  });

  it('does not even look when it is off', async () => {
    const store = { ...scene(five).store, list: () => Promise.reject(away) };
    expect(await pruneSnapshots(store, { ...policy, keep: 0 }, signal)).toEqual({
      plan: { delete: [], keep: [] },
      deleted: [],
      failures: [],
      warnings: [],
    });
  });

  it.each(['forbidden', 'protocol'] as const)(
    'goes on without what may not be looked at (%s), which drives nothing out, and warns',
    async (code) => {
      const disk = scene(five);
      const refused = new SnapshotError(code, 'Cannot look up b-n1-5');
      const stat = async (name: string) =>
        name === 'b-n1-5' ? Promise.reject(refused) : disk.store.stat(name, signal);
      const { deleted, warnings } = await pruneSnapshots({ ...disk.store, stat }, policy, signal);
      expect(deleted.map(({ name }) => name)).toEqual(['b-n1-1', 'b-n1-2']);
      expect(warnings).toEqual([refused]);
    },
  );
});
