import { type ETCDSnapshotFile, snapshotFileResource } from '../crds/etcd-snapshot-file.ts';
import { isObjectMissing } from './api-errors.ts';
import { JSON_PATCH } from './api-request.ts';
import type { KubeClient } from './client.ts';

/** Under this name the API server keeps, in `managedFields`, what we wrote and what others did. */
export const FIELD_MANAGER = 'etcd-snapshot';

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
  /**
   * Changes parts of a record, all or none of them; undefined when there is no such record.
   * @throws SnapshotError `conflict` when a `test` does not hold
   */
  patch(
    name: string,
    operations: readonly PatchOperation[],
    signal: AbortSignal,
  ): Promise<ETCDSnapshotFile | undefined>;
  /**
   * Asks for the end of exactly this record; finalizers may keep it for a while. False when there was none.
   * @throws SnapshotError `conflict` when the name belongs to another record by now, or this one has changed since
   */
  delete(name: string, only: DeletePreconditions, signal: AbortSignal): Promise<boolean>;
}

/** One step of a JSON Patch (RFC 6902); `add` also replaces the member of an object. */
export interface PatchOperation {
  readonly op: 'add' | 'remove' | 'replace' | 'test';
  /** JSON Pointer; in a key, `/` is written `~1` and `~` is written `~0`. */
  readonly path: string;
  readonly value?: unknown;
}

interface DeletePreconditions {
  readonly uid: string;
  /** Left out, the record may have changed, as long as it is the same one. */
  readonly resourceVersion?: string;
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

export function createSnapshotFilesApi(client: Pick<KubeClient, 'request'>): SnapshotFilesApi {
  const query = { fieldManager: FIELD_MANAGER };
  return {
    get: (name, signal) =>
      unlessMissing(client.request<ETCDSnapshotFile>({ method: 'GET', path: pathOf(name), signal })),
    async *list({ labelSelector = '', pageSize = PAGE_SIZE }, signal) {
      let position: string | undefined = '';
      while (position !== undefined) {
        const query: Record<string, string> = { labelSelector, limit: String(pageSize), continue: position };
        const page: Page = await client.request<Page>({ method: 'GET', path: COLLECTION, query, signal });
        yield* page.items;
        position = page.metadata.continue || undefined;
      }
    },
    create: (file, signal) => client.request({ method: 'POST', path: COLLECTION, query, body: file, signal }),
    update: (file, signal) =>
      client.request({ method: 'PUT', path: pathOf(file.metadata.name), query, body: file, signal }),
    patch: (name, operations, signal) =>
      unlessMissing(
        client.request<ETCDSnapshotFile>({
          method: 'PATCH',
          path: pathOf(name),
          query,
          body: operations,
          contentType: JSON_PATCH,
          signal,
        }),
      ),
    async delete(name, { uid, resourceVersion }, signal) {
      const preconditions = { uid, ...(resourceVersion === undefined ? {} : { resourceVersion }) };
      const body = { apiVersion: 'v1', kind: 'DeleteOptions', preconditions };
      const answer = await unlessMissing(
        client.request<object>({ method: 'DELETE', path: pathOf(name), body, signal }),
      );
      return answer !== undefined;
    },
  };
}

function pathOf(name: string): string {
  return `${COLLECTION}/${encodeURIComponent(name)}`;
}

async function unlessMissing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (isObjectMissing(error)) return undefined;
    throw error;
  }
}
