import { describe, expect, it } from 'vitest';
import { exampleSnapshot } from '../../test/support/example-snapshots.ts';
import type { ETCDSnapshotFile } from '../crds/etcd-snapshot-file.ts';
import { toSnapshotFile } from '../crds/mapping.ts';
import { SnapshotError } from '../errors.ts';
import type { SnapshotFilesApi } from '../kube/snapshot-files-api.ts';
import type { InventoryRecord } from '../reconcilers/inventory-plan.ts';
import { createRecordWriter } from './record-writer.ts';

const OURS = 'etcd.k3s.cattle.io/snapshot-storage';

/** Only what the case gives is there of the API server. */
const writerOn = (files: Partial<SnapshotFilesApi>) =>
  createRecordWriter({
    files: files as SnapshotFilesApi,
    program: 'k3s',
    finalizer: OURS,
    clock: { now: () => new Date() },
    events: { emit: () => {} },
  });
const never = new AbortController().signal;

describe('a record that is let go because its data are gone', () => {
  const file: ETCDSnapshotFile = {
    apiVersion: 'k3s.cattle.io/v1',
    kind: 'ETCDSnapshotFile',
    metadata: { name: 'local-x', uid: 'u-1', resourceVersion: '1', finalizers: [OURS] },
    spec: { snapshotName: 'x', nodeName: 'node-1', location: 'file:///x' },
  };
  const record: InventoryRecord = { file, applied: false, seenAt: 0 };

  /** One record on a server; `lifted` is called when its finalizer has just gone. */
  function world(lifted: () => Promise<void> = async () => {}) {
    let stored = file;
    const write = (finalizers: readonly string[]) => {
      const resourceVersion = String(Number(stored.metadata.resourceVersion) + 1);
      stored = { ...stored, metadata: { ...stored.metadata, finalizers, resourceVersion } };
      return stored;
    };
    const diary: string[] = [];
    const files = {
      get: async () => stored,
      async patch(_name, operations) {
        const [read] = operations;
        if (read !== undefined && 'value' in read && read.value !== stored.metadata.resourceVersion)
          throw new SnapshotError('conflict', 'It has changed', { retryable: true });
        const finalizers = operations.find(({ op }) => op === 'add')?.value as readonly string[];
        diary.push(finalizers.length === 0 ? 'lifted' : 'added');
        const after = write(finalizers);
        if (finalizers.length === 0) await lifted();
        return after;
      },
      async delete(_name, { resourceVersion }) {
        if (resourceVersion !== stored.metadata.resourceVersion) {
          throw new SnapshotError('conflict', 'It has changed', { retryable: true });
        }
        diary.push('deleted');
        return true;
      },
    } satisfies Partial<SnapshotFilesApi>;
    const writer = writerOn(files);
    return { writer, diary, write, living: () => stored };
  }

  it('does not get its finalizer back in between, though it lives', async () => {
    const scene = world(async () => {
      expect(await scene.writer.ensureFinalizer(scene.living(), never)).toBe(false);
    });
    expect(await scene.writer.release(record, never)).toBe(true);
    expect(scene.diary).toEqual(['lifted', 'deleted']);
    expect(await scene.writer.ensureFinalizer(scene.living(), never)).toBe(true);
  });

  it('stays, with its finalizer, when somebody has written to it since: that may be a hold', async () => {
    const scene = world();
    scene.write([OURS]);
    await expect(scene.writer.release(record, never)).rejects.toMatchObject({ code: 'conflict' });
    expect(scene.diary).toEqual([]);
  });

  it('stays when another process gave it the finalizer back: its deletion would take data along', async () => {
    const scene = world(async () => void scene.write([OURS]));
    await expect(scene.writer.release(record, never)).rejects.toMatchObject({ code: 'conflict' });
    expect(scene.diary).toEqual(['lifted']);
  });
});

it('neither makes nor changes a record while their definition is being deleted, and says what to do', async () => {
  const files = new Proxy({} as SnapshotFilesApi, {
    get: (_, call) => () => {
      throw new Error(`${String(call)} was called`);
    },
  });
  const writer = createRecordWriter({
    files,
    program: 'k3s',
    finalizer: OURS,
    clock: { now: () => new Date() },
    events: { emit: () => {} },
    definitionIsGoing: () => true,
  });
  const snapshot = exampleSnapshot('a-n1-1');
  const file = toSnapshotFile(snapshot, 'k3s');
  const record = { file, applied: true, seenAt: 0 };
  const refused = { code: 'unavailable', hint: expect.stringContaining('kubectl apply -f deploy/crds/') };
  await expect(writer.publish(snapshot, never)).rejects.toMatchObject(refused);
  await expect(writer.refresh(record, snapshot, never)).rejects.toMatchObject(refused);
  await expect(writer.mark(record, 'gone', never)).rejects.toMatchObject(refused);
  // It goes anyway, so there is nothing to come back to.
  expect(await writer.ensureFinalizer(file, never)).toBe(true);
});

it('makes a record with what people had asked of the one before it, beside what belongs to the copy', async () => {
  const created: ETCDSnapshotFile[] = [];
  const files = {
    get: async () => undefined,
    create: async (file) => {
      created.push(file);
      return file;
    },
  } satisfies Partial<SnapshotFilesApi>;
  const hold = { 'etcd.k3s.cattle.io/snapshot-hold': 'audit' };
  const snapshot = exampleSnapshot('a-n1-1', { tokenHash: 'b4b83cda3099' });
  const writer = createRecordWriter({
    files: files as Partial<SnapshotFilesApi> as SnapshotFilesApi,
    program: 'k3s',
    finalizer: OURS,
    clock: { now: () => new Date() },
    events: { emit: () => {} },
    wishesFor: ({ name }) => (name === snapshot.name ? hold : {}),
  });
  expect(await writer.publish(snapshot, never)).toBe(true);
  await writer.publish(exampleSnapshot('b-n1-2'), never);
  expect(created.map(({ metadata }) => metadata.annotations)).toEqual([
    { ...hold, 'etcd.k3s.cattle.io/snapshot-token-hash': 'b4b83cda3099' },
    undefined,
  ]);
});

it('says that it wrote nothing into a record that says the same already', async () => {
  const snapshot = exampleSnapshot('a-n1-1');
  const { metadata, ...file } = toSnapshotFile(snapshot, 'k3s');
  const updated: ETCDSnapshotFile[] = [];
  let size = file.status?.size;
  const files = {
    get: async () => ({
      ...file,
      metadata,
      status: { ...file.status, ...(size === undefined ? {} : { size }) },
    }),
    update: async (to) => {
      updated.push(to);
      return to;
    },
  } satisfies Partial<SnapshotFilesApi>;
  const writer = writerOn(files);
  expect([await writer.publish(snapshot, never), updated.length]).toEqual([false, 0]);
  size = '1';
  expect([await writer.publish(snapshot, never), updated.length]).toEqual([true, 1]);
});
