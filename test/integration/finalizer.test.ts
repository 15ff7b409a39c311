import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { createFinalizer, finalizerState } from '../../src/controllers/finalizer.ts';
import type { ETCDSnapshotFile } from '../../src/crds/etcd-snapshot-file.ts';
import { toSnapshotFile } from '../../src/crds/mapping.ts';
import { connect, type KubeClient } from '../../src/kube/client.ts';
import { createSnapshotFilesApi, FIELD_MANAGER } from '../../src/kube/snapshot-files-api.ts';
import { toolPath } from '../tools/toolbox.ts';

const run = promisify(execFile);
const never = new AbortController().signal;
const OURS = 'etcd.k3s.cattle.io/snapshot-storage';
const THEIRS = 'wrangler.cattle.io/managed-etcd-snapshots-controller';

let client: KubeClient;
beforeAll(async () => {
  client = await connect(inject('kubeconfig'));
});
afterAll(() => client?.[Symbol.asyncDispose]());

const files = () => createSnapshotFilesApi(client);
const finalizer = (name = OURS) => createFinalizer({ files: files(), finalizer: name });

/** A record on the API server, with these finalizers. */
function create(nodeName: string, finalizers: readonly string[] = []): Promise<ETCDSnapshotFile> {
  const name = `finalizer-${nodeName}-1730308816`;
  const createdAt = new Date('2024-10-30T17:20:16Z');
  const location = { store: 'local', path: `/snapshots/${name}` } as const;
  const file = toSnapshotFile({ name, nodeName, createdAt, size: 1, compressed: false, location }, 'k3s');
  return files().create({ ...file, metadata: { ...file.metadata, finalizers } }, never);
}

const read = (file: ETCDSnapshotFile) => files().get(file.metadata.name, never);
const uid = (file: ETCDSnapshotFile) => file.metadata.uid ?? '';

/** Somebody else's change, as `kubectl patch` makes it: no version, last one wins. */
function foreignPatch(file: ETCDSnapshotFile, metadata: object): Promise<unknown> {
  const path = `/apis/k3s.cattle.io/v1/etcdsnapshotfiles/${file.metadata.name}`;
  const contentType = 'application/merge-patch+json';
  return client.request({ method: 'PATCH', path, body: { metadata }, contentType, signal: never });
}

describe('the finalizer of a record', () => {
  it('holds a deleted record until it is lifted', async () => {
    const file = await finalizer().ensure(await create('holds'), never);
    expect(file && finalizerState(file, OURS)).toBe('living');
    if (file === undefined) return;
    expect(await files().delete(file.metadata.name, { uid: uid(file) }, never)).toBe(true);
    const going = await read(file);
    expect(going && finalizerState(going, OURS)).toBe('clean');
    if (going === undefined) return;
    expect(await finalizer().ensure(going, never)).toEqual(going);
    const last = await finalizer().lift(going, never);
    expect(last && finalizerState(last, OURS)).toBe('done');
    expect(await read(file)).toBeUndefined();
  });

  it('neither loses nor is lost to that of a writer at the same time', async () => {
    for (let round = 0; round < 20; round += 1) {
      const file = await create(`both-${round}`);
      const outcomes = await Promise.allSettled([
        finalizer().ensure(file, never),
        finalizer(THEIRS).ensure(file, never),
      ]);
      expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled']);
      expect((await read(file))?.metadata.finalizers?.toSorted()).toEqual([OURS, THEIRS]);

      const both = (await read(file)) ?? file;
      await Promise.all([finalizer().lift(both, never), foreignPatch(both, { labels: { a: 'b' } })]);
      expect((await read(file))?.metadata).toMatchObject({ finalizers: [THEIRS], labels: { a: 'b' } });
    }
  });

  it('keeps what a writer that looks at no version has set just before', async () => {
    const file = await create('blind');
    await foreignPatch(file, { finalizers: ['example.com/blind'] });
    const after = await finalizer().ensure(file, never);
    expect(after?.metadata.finalizers).toEqual(['example.com/blind', OURS]);
  });

  it('comes to nothing when the record is deleted in between', async () => {
    const held = await create('between', ['example.com/held']);
    await files().delete(held.metadata.name, { uid: uid(held) }, never);
    const after = await finalizer().ensure(held, never);
    expect(after?.metadata.finalizers).toEqual(['example.com/held']);
    await foreignPatch(held, { finalizers: null });
    expect(await finalizer().ensure(held, never)).toBeUndefined();
    expect(await finalizer(THEIRS).lift(await create('between', [THEIRS]), never)).toBeDefined();
  });

  it('stays on a new record of the same name', async () => {
    const old = await create('renewed', [OURS]);
    await files().delete(old.metadata.name, { uid: uid(old) }, never);
    await foreignPatch(old, { finalizers: null });
    const renewed = await create('renewed', [OURS]);
    expect(await finalizer().lift(old, never)).toBeUndefined();
    expect((await read(renewed))?.metadata.finalizers).toEqual([OURS]);
  });

  it('is a conflict when the record is never the same twice', async () => {
    const file = await create('restless');
    const restless = createFinalizer({
      finalizer: OURS,
      files: {
        get: (name, signal) => files().get(name, signal),
        async patch(...args) {
          await foreignPatch(file, { annotations: { at: String(Math.random()) } });
          return files().patch(...args);
        },
      },
    });
    await expect(restless.ensure(file, never)).rejects.toMatchObject({ code: 'conflict', retryable: true });
  });

  it('is shown by kubectl, under our name in managedFields', async () => {
    const file = await finalizer().ensure(await create('shown', [THEIRS]), never);
    const kubectl = await toolPath('kubectl');
    const name = file?.metadata.name ?? '';
    const args = ['get', 'etcdsnapshotfile', name, '--show-managed-fields', '-o', 'json'];
    const { stdout } = await run(kubectl, ['--kubeconfig', inject('kubeconfig'), ...args]);
    const { metadata } = JSON.parse(stdout) as {
      metadata: { finalizers: string[]; managedFields: { manager: string }[] };
    };
    expect(metadata.finalizers).toEqual([THEIRS, OURS]);
    expect(new Set(metadata.managedFields.map(({ manager }) => manager))).toEqual(new Set([FIELD_MANAGER]));
  });
});

describe('the deletion of a record', () => {
  it('spares another record of the same name, and one that has changed', async () => {
    const file = await create('spared');
    const { name } = file.metadata;
    const conflict = { code: 'conflict', retryable: true };
    await expect(files().delete(name, { uid: 'another' }, never)).rejects.toMatchObject(conflict);
    await foreignPatch(file, { annotations: { a: 'b' } });
    const only = { uid: uid(file), resourceVersion: file.metadata.resourceVersion ?? '' };
    await expect(files().delete(name, only, never)).rejects.toMatchObject(conflict);
    expect(await read(file)).toBeDefined();
    expect(await files().delete(name, { uid: uid(file) }, never)).toBe(true);
    expect(await files().delete(name, { uid: uid(file) }, never)).toBe(false);
  });

  it('is told apart from a patch that breaks the schema', async () => {
    const file = await create('schema');
    const patch = (value: unknown) =>
      files().patch(file.metadata.name, [{ op: 'add', path: '/spec/snapshotName', value }], never);
    await expect(patch(7)).rejects.toMatchObject({ code: 'protocol', retryable: false });
    expect((await patch('seven'))?.spec.snapshotName).toBe('seven');
  });
});
