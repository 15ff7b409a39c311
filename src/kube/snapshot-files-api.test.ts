import { describe, expect, it } from 'vitest';
import { exampleSnapshot } from '../../test/support/example-snapshots.ts';
import { toSnapshotFile } from '../crds/mapping.ts';
import { fromAnswer } from './api-errors.ts';
import type { KubeRequest } from './api-request.ts';
import { createSnapshotFilesApi, FIELD_MANAGER } from './snapshot-files-api.ts';

const never = new AbortController().signal;

/** Answers each call with what `answer` makes of it, and keeps the calls. */
function fakeClient(answer: (request: KubeRequest) => unknown) {
  const calls: KubeRequest[] = [];
  return {
    calls,
    async request<T>(request: KubeRequest): Promise<T> {
      calls.push(request);
      return JSON.parse(JSON.stringify(answer(request)));
    },
  };
}

describe('the listing of records', () => {
  it('goes on page by page', async () => {
    const pages = new Map([
      ['', { metadata: { continue: 'next' }, items: [{ n: 1 }, { n: 2 }] }],
      ['next', { metadata: {}, items: [{ n: 3 }] }],
    ]);
    const client = fakeClient(({ query }) => pages.get(query?.['continue'] ?? ''));
    const files = createSnapshotFilesApi(client);
    const items: unknown[] = [];
    for await (const file of files.list({ labelSelector: 'a=b', pageSize: 2 }, never)) items.push(file);
    expect(items).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }]);
    expect(client.calls.map(({ query }) => query)).toEqual([
      { labelSelector: 'a=b', limit: '2', continue: '' },
      { labelSelector: 'a=b', limit: '2', continue: 'next' },
    ]);
  });
});

describe('a change of a record', () => {
  const file = toSnapshotFile(exampleSnapshot('on-demand-n1-1730308816'), 'k3s');
  const missing = (request: KubeRequest) => {
    throw fromAnswer(
      request,
      404,
      JSON.stringify({ kind: 'Status', reason: 'NotFound', details: { name: 'x' } }),
    );
  };

  it('is always made under our name', async () => {
    const client = fakeClient(() => file);
    const files = createSnapshotFilesApi(client);
    await files.create(file, never);
    await files.update(file, never);
    await files.patch('x', [{ op: 'remove', path: '/status' }], never);
    expect(client.calls.map(({ method, query }) => ({ method, query }))).toEqual(
      ['POST', 'PUT', 'PATCH'].map((method) => ({ method, query: { fieldManager: FIELD_MANAGER } })),
    );
  });

  it('is sent as a JSON Patch', async () => {
    const client = fakeClient(() => file);
    const operations = [{ op: 'test', path: '/metadata/uid', value: 'u-1' }] as const;
    expect(await createSnapshotFilesApi(client).patch('a/b', operations, never)).toEqual(file);
    expect(client.calls).toMatchObject([
      {
        path: '/apis/k3s.cattle.io/v1/etcdsnapshotfiles/a%2Fb',
        body: operations,
        contentType: 'application/json-patch+json',
      },
    ]);
  });

  it('deletes only what it names', async () => {
    const client = fakeClient(() => ({ kind: 'Status', status: 'Success' }));
    const files = createSnapshotFilesApi(client);
    expect(await files.delete('x', { uid: 'u-1' }, never)).toBe(true);
    expect(await files.delete('x', { uid: 'u-1', resourceVersion: '7' }, never)).toBe(true);
    expect(client.calls.map(({ body }) => body)).toMatchObject([
      { kind: 'DeleteOptions', preconditions: { uid: 'u-1' } },
      { kind: 'DeleteOptions', preconditions: { uid: 'u-1', resourceVersion: '7' } },
    ]);
  });

  it('of a record that is gone is told, not thrown', async () => {
    const files = createSnapshotFilesApi(fakeClient(missing));
    expect(await files.get('x', never)).toBeUndefined();
    expect(await files.patch('x', [], never)).toBeUndefined();
    expect(await files.delete('x', { uid: 'u-1' }, never)).toBe(false);
  });

  it('without the definition of records is an error', async () => {
    const files = createSnapshotFilesApi(
      fakeClient((request) => {
        throw fromAnswer(request, 404, '404 page not found');
      }),
    );
    for (const work of [files.patch('x', [], never), files.delete('x', { uid: 'u-1' }, never)]) {
      await expect(work).rejects.toMatchObject({ code: 'not-found' });
    }
  });
});
