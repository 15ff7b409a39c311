import { beforeEach, describe, expect, it } from 'vitest';
import { exampleSnapshot } from '../../test/support/example-snapshots.ts';
import type { ETCDSnapshotFile } from '../crds/etcd-snapshot-file.ts';
import { toSnapshotFile } from '../crds/mapping.ts';
import { SnapshotError } from '../errors.ts';
import type { PatchOperation } from '../kube/snapshot-files-api.ts';
import { createFinalizer, type FinalizerState, finalizerState } from './finalizer.ts';

const never = new AbortController().signal;
const OURS = 'etcd.k3s.cattle.io/snapshot-storage';
const THEIRS = 'wrangler.cattle.io/managed-etcd-snapshots-controller';
const deletionTimestamp = '2024-10-31T00:00:00Z';

function record(metadata: Partial<ETCDSnapshotFile['metadata']> = {}): ETCDSnapshotFile {
  const file = toSnapshotFile(exampleSnapshot('on-demand-n1-1730308816'), 'k3s');
  return { ...file, metadata: { ...file.metadata, uid: 'u-1', resourceVersion: '1', ...metadata } };
}

describe('finalizerState', () => {
  it.each<[FinalizerState, Partial<ETCDSnapshotFile['metadata']>]>([
    ['add', {}],
    ['add', { finalizers: [] }],
    ['add', { finalizers: [THEIRS] }],
    ['living', { finalizers: [OURS] }],
    ['living', { finalizers: [THEIRS, OURS] }],
    ['clean', { finalizers: [OURS], deletionTimestamp }],
    ['done', { finalizers: [THEIRS], deletionTimestamp }],
    ['done', { deletionTimestamp }],
  ])('is %s for %j', (state, metadata) => {
    expect(finalizerState(record(metadata), OURS)).toBe(state);
  });
});

describe('the finalizer', () => {
  let stored: ETCDSnapshotFile | undefined;
  let patches: (readonly PatchOperation[])[];
  /** Runs before a patch arrives: what others do meanwhile. */
  let meanwhile: () => void;

  beforeEach(() => {
    stored = record();
    patches = [];
    meanwhile = () => {};
  });

  /** One record behind a JSON Patch that tests its version, as the API server does it. */
  const files = {
    get: async () => stored,
    async patch(_name: string, operations: readonly PatchOperation[]) {
      meanwhile();
      patches.push(operations);
      if (stored === undefined) return undefined;
      const value = (op: string) => operations.find((one) => one.op === op)?.value;
      if (value('test') !== stored.metadata.resourceVersion) {
        throw new SnapshotError('conflict', 'It has changed', { retryable: true });
      }
      return change({ finalizers: value('add') as string[] });
    },
  };
  const change = (metadata: Partial<ETCDSnapshotFile['metadata']>) => {
    const resourceVersion = String(Number(stored?.metadata.resourceVersion) + 1);
    stored = record({ ...stored?.metadata, ...metadata, resourceVersion });
    return stored;
  };
  const finalizer = createFinalizer({ files, finalizer: OURS });

  it('comes after those of others, and goes without touching them', async () => {
    const file = change({ finalizers: [THEIRS] });
    const after = await finalizer.ensure(file, never);
    expect(after?.metadata.finalizers).toEqual([THEIRS, OURS]);
    expect((await finalizer.lift(after ?? file, never))?.metadata.finalizers).toEqual([THEIRS]);
  });

  it('is written only when there is something to change', async () => {
    const living = record({ finalizers: [OURS] });
    expect(await finalizer.ensure(living, never)).toBe(living);
    const foreign = record({ finalizers: [THEIRS] });
    expect(await finalizer.lift(foreign, never)).toBe(foreign);
    expect(patches).toEqual([]);
  });

  it('is not added to a record that is being deleted, which Kubernetes would refuse', async () => {
    const going = record({ finalizers: [THEIRS], deletionTimestamp });
    expect(await finalizer.ensure(going, never)).toBe(going);
    expect(patches).toEqual([]);
  });

  it('is decided anew over what somebody else wrote in the meantime', async () => {
    const file = record();
    change({ finalizers: [THEIRS] });
    expect((await finalizer.ensure(file, never))?.metadata.finalizers).toEqual([THEIRS, OURS]);
    change({ finalizers: [] });
    change({ finalizers: ['example.com/other', OURS], deletionTimestamp });
    const lifted = await finalizer.lift(record({ finalizers: [OURS] }), never);
    expect(lifted?.metadata).toMatchObject({ finalizers: ['example.com/other'], deletionTimestamp });
  });

  it('is not lifted from a record that says something else by now, when that is asked for', async () => {
    const file = record({ finalizers: [OURS] });
    change({ finalizers: [OURS], annotations: { hold: 'audit' } });
    await expect(finalizer.liftUnchanged(file, never)).rejects.toMatchObject({
      code: 'conflict',
      retryable: true,
    });
    expect(stored?.metadata.finalizers).toEqual([OURS]);
    const now = await finalizer.liftUnchanged(stored ?? file, never);
    expect(now?.metadata.finalizers).toEqual([]);
    stored = undefined;
    expect(await finalizer.liftUnchanged(file, never)).toBeUndefined();
  });

  it('is not added when the deletion came in between', async () => {
    const file = record();
    change({ finalizers: [THEIRS], deletionTimestamp });
    expect(await finalizer.ensure(file, never)).toBe(stored);
    expect(stored?.metadata.finalizers).toEqual([THEIRS]);
  });

  it('throws a conflict that may be retried when the record changes again and again', async () => {
    meanwhile = () => change({});
    await expect(finalizer.ensure(record(), never)).rejects.toMatchObject({
      code: 'conflict',
      retryable: true,
    });
    expect(patches).toHaveLength(2);
  });

  it('leaves another record of the same name alone', async () => {
    const file = record({ finalizers: [OURS] });
    change({ uid: 'u-2', finalizers: [OURS] });
    expect(await finalizer.lift(file, never)).toBeUndefined();
    expect(stored?.metadata.finalizers).toEqual([OURS]);
  });

  it('has nothing to do on a record that is gone', async () => {
    stored = undefined;
    expect(await finalizer.ensure(record(), never)).toBeUndefined();
    expect(await finalizer.lift(record({ finalizers: [OURS] }), never)).toBeUndefined();
  });

  it('passes on every other error', async () => {
    const failing = createFinalizer({
      finalizer: OURS,
      files: {
        get: async () => stored,
        patch: () => Promise.reject(new SnapshotError('forbidden', 'No')),
      },
    });
    await expect(failing.ensure(record(), never)).rejects.toMatchObject({ code: 'forbidden' });
  });
});
