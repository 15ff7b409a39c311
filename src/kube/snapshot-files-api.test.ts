import { describe, expect, it } from 'vitest';
import type { KubeRequest } from './api-request.ts';
import type { KubeClient } from './client.ts';
import { createSnapshotFilesApi } from './snapshot-files-api.ts';

const never = new AbortController().signal;

describe('the listing of records', () => {
  it('goes on page by page', async () => {
    const pages = new Map([
      ['', { metadata: { continue: 'next' }, items: [{ n: 1 }, { n: 2 }] }],
      ['next', { metadata: {}, items: [{ n: 3 }] }],
    ]);
    const queries: unknown[] = [];
    const client: KubeClient = {
      server: 'https://fake.invalid',
      async request<T>(request: KubeRequest): Promise<T> {
        queries.push(request.query);
        return JSON.parse(JSON.stringify(pages.get(request.query?.['continue'] ?? '')));
      },
      watch: () => {
        throw new Error('a listing watches nothing');
      },
      async [Symbol.asyncDispose]() {},
    };
    const files = createSnapshotFilesApi(client);
    const items: unknown[] = [];
    for await (const file of files.list({ labelSelector: 'a=b', pageSize: 2 }, never)) items.push(file);
    expect(items).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }]);
    expect(queries).toEqual([
      { labelSelector: 'a=b', limit: '2', continue: '' },
      { labelSelector: 'a=b', limit: '2', continue: 'next' },
    ]);
  });
});
