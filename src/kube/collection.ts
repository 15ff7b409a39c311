import { SnapshotError } from '../errors.ts';
import { fromAnswer } from './api-errors.ts';
import { describeRequest, type KubeRequest } from './api-request.ts';
import type { KubeClient } from './client.ts';

/** A page of large objects from a busy server; whoever lists a whole collection has that much patience. */
const LIST_TIMEOUT_MS = 60_000;

/** What every object of Kubernetes has, as far as it is needed here. */
export interface KubeObject {
  readonly metadata: { readonly name: string; readonly resourceVersion?: string };
}

/** Which objects: all of a path that match the selectors. */
export interface CollectionOptions {
  readonly client: Pick<KubeClient, 'request' | 'watch'>;
  /** Cluster-wide or of one namespace, so that names are unique. */
  readonly path: string;
  /** In Kubernetes' syntax, as `fieldSelector`. */
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
}

export interface Page<Raw> {
  readonly items: readonly Raw[];
  /** Of the collection: the moment that the listing shows. */
  readonly version: string;
}

/** `bookmark`: nothing happened up to that version. */
export type CollectionEvent<Raw> =
  | { readonly type: 'set' | 'gone'; readonly object: Raw; readonly version: string }
  | { readonly type: 'bookmark'; readonly version: string };

export interface WatchOptions {
  /** Tell what happened since then. */
  readonly version: string;
  /** After so long the server ends the watch in good order. */
  readonly seconds: number;
  readonly onOpen: () => void;
}

/** Everything throws as `KubeClient.request` and `KubeClient.watch` do; an event of type `ERROR` as the answer it holds. */
export interface Collection<Raw> {
  /** Page by page, all of one moment; in one page when the size is infinite. See `isExpired` for one that took too long. */
  list(pageSize: number, signal: AbortSignal): AsyncGenerator<Page<Raw>>;
  /** Where the collection is now, for the price of one object. */
  version(signal: AbortSignal): Promise<string>;
  watch(options: WatchOptions, signal: AbortSignal): AsyncGenerator<CollectionEvent<Raw>>;
}

interface RawList<Raw> {
  readonly metadata?: { readonly resourceVersion?: string; readonly continue?: string };
  readonly items?: readonly Raw[] | null;
}

interface RawEvent<Raw> {
  readonly type?: unknown;
  readonly object?: Raw & { readonly code?: number };
}

/** `Raw` is what the API server is expected to hold there, not what was checked. */
export function openCollection<Raw extends KubeObject>(options: CollectionOptions): Collection<Raw> {
  const { client, path, labelSelector = '', fieldSelector = '' } = options;

  async function pageOf(query: Record<string, string>, signal: AbortSignal, timeoutMs?: number) {
    const request: KubeRequest = {
      method: 'GET',
      path,
      query: { labelSelector, fieldSelector, ...query },
      signal,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    };
    const { metadata, items } = await client.request<RawList<Raw>>(request);
    const version = metadata?.resourceVersion;
    if (version === undefined) throw unexpected(request, 'its answer is not a list');
    return { items: items ?? [], version, next: metadata?.continue ?? '' };
  }

  return {
    async *list(pageSize, signal) {
      const limit = Number.isFinite(pageSize) ? String(pageSize) : '';
      let position = '';
      do {
        const page = await pageOf({ limit, continue: position }, signal, LIST_TIMEOUT_MS);
        yield page;
        position = page.next;
      } while (position !== '');
    },
    async version(signal) {
      const { version } = await pageOf({ limit: '1' }, signal);
      return version;
    },
    async *watch({ version, seconds, onOpen }, signal) {
      const query = {
        labelSelector,
        fieldSelector,
        resourceVersion: version,
        allowWatchBookmarks: 'true',
        timeoutSeconds: String(seconds),
      };
      const request: KubeRequest = { method: 'GET', path, query: { ...query, watch: '1' }, signal };
      for await (const line of client.watch({ path, query, signal, onOpen })) {
        yield readEvent(request, line as RawEvent<Raw> | null);
      }
    },
  };
}

function readEvent<Raw extends KubeObject>(
  request: KubeRequest,
  event: RawEvent<Raw> | null,
): CollectionEvent<Raw> {
  const { type, object } = event ?? {};
  if (type === 'ERROR') throw fromAnswer(request, object?.code ?? 500, JSON.stringify(object));
  const version = object?.metadata?.resourceVersion;
  if (object === undefined || version === undefined) throw unexpected(request, 'it sent an event of nothing');
  switch (type) {
    case 'ADDED':
    case 'MODIFIED':
      return { type: 'set', object, version };
    case 'DELETED':
      return { type: 'gone', object, version };
    case 'BOOKMARK':
      return { type: 'bookmark', version };
    default:
      throw unexpected(request, 'it sent an event of an unknown type');
  }
}

function unexpected(request: KubeRequest, why: string): SnapshotError {
  return new SnapshotError('protocol', `Cannot ${describeRequest(request).text} in Kubernetes`, {
    why,
    hint: 'Check the server address in the kubeconfig: something else than an API server answers there.',
  });
}
