import { type ETCDSnapshotFile, snapshotFileResource } from '../crds/etcd-snapshot-file.ts';
import { isObjectMissing } from './api-errors.ts';
import type { KubeClient } from './client.ts';

const COLLECTION = `/apis/${snapshotFileResource.apiVersion}/${snapshotFileResource.plural}`;
const PAGE_SIZE = 500;

/** ETCDSnapshotFile in the API server. Everything throws as `KubeClient.request` does. */
export interface SnapshotFilesApi {
  /** Undefined when there is no such record; a missing CustomResourceDefinition is an error. */
  get(name: string, signal: AbortSignal): Promise<ETCDSnapshotFile | undefined>;
  /** Page by page. A `conflict` on a later page means that the listing is too old to go on: begin anew. */
  list(options: ListOptions, signal: AbortSignal): AsyncGenerator<ETCDSnapshotFile>;
  /** @throws SnapshotError `exists` */
  create(file: ETCDSnapshotFile, signal: AbortSignal): Promise<ETCDSnapshotFile>;
  /** Replaces the record of that resourceVersion. @throws SnapshotError `conflict` when it has changed since */
  update(file: ETCDSnapshotFile, signal: AbortSignal): Promise<ETCDSnapshotFile>;
}

interface ListOptions {
  /** In Kubernetes' syntax. */
  readonly labelSelector?: string;
  /** Records per request; 500 unless given. */
  readonly pageSize?: number;
}

interface Page {
  readonly metadata: { readonly continue?: string };
  readonly items: readonly ETCDSnapshotFile[];
}

export function createSnapshotFilesApi(client: KubeClient): SnapshotFilesApi {
  return {
    async get(name, signal) {
      try {
        return await client.request<ETCDSnapshotFile>({ method: 'GET', path: pathOf(name), signal });
      } catch (error) {
        if (isObjectMissing(error)) return undefined;
        throw error;
      }
    },
    async *list({ labelSelector = '', pageSize = PAGE_SIZE }, signal) {
      let position: string | undefined = '';
      while (position !== undefined) {
        const query: Record<string, string> = { labelSelector, limit: String(pageSize), continue: position };
        const page: Page = await client.request<Page>({ method: 'GET', path: COLLECTION, query, signal });
        yield* page.items;
        position = page.metadata.continue || undefined;
      }
    },
    create: (file, signal) => client.request({ method: 'POST', path: COLLECTION, body: file, signal }),
    update: (file, signal) =>
      client.request({ method: 'PUT', path: pathOf(file.metadata.name), body: file, signal }),
  };
}

function pathOf(name: string): string {
  return `${COLLECTION}/${encodeURIComponent(name)}`;
}
