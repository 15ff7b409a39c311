/** Content type of a JSON Patch (RFC 6902). */
export const JSON_PATCH = 'application/json-patch+json';

/** One call of the API server, with the object in plain JSON both ways. */
export interface KubeRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Path from the root of the API: `/api/v1/…` or `/apis/<group>/…`, each segment already escaped. */
  readonly path: string;
  /** Empty values are left out. */
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** Of the body; `application/json` unless given. */
  readonly contentType?: string;
  readonly signal: AbortSignal;
  /** Longest time for the whole call, authentication included. */
  readonly timeoutMs?: number;
  /** Goes over a connection of its own, which no slow call holds up. For few and small calls. */
  readonly urgent?: boolean;
}

/** A streaming GET of a collection. `watch` itself need not be in the query. */
export interface WatchRequest extends Pick<KubeRequest, 'path' | 'query' | 'signal'> {
  /** Longest silence, the wait for the answer included. */
  readonly idleMs?: number;
  /** Called when the server has agreed, which may be long before it has something to tell. Must not throw. */
  readonly onOpen?: () => void;
}

export interface RequestDescription {
  /** As RBAC names it: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`. */
  readonly verb: string;
  /** As RBAC names it, with the group: `configmaps`, `etcdsnapshotfiles.k3s.cattle.io`. */
  readonly resource: string;
  /** `get configmaps kube-system/settings`: what the call does, for a message. */
  readonly text: string;
}

const VERBS = { POST: 'create', PUT: 'update', PATCH: 'patch', DELETE: 'delete' } as const;

/** Reads verb, resource and object out of a call, in the words that RBAC rules use. */
export function describeRequest(request: Pick<KubeRequest, 'method' | 'path' | 'query'>): RequestDescription {
  const segments = request.path
    .split('/')
    .filter((segment) => segment !== '')
    .map(decodeURIComponent);
  const group = segments[0] === 'apis' ? segments[1] : undefined;
  let rest = segments.slice(group === undefined ? 2 : 3);
  let namespace: string | undefined;
  if (rest[0] === 'namespaces' && rest.length > 2) {
    namespace = rest[1];
    rest = rest.slice(2);
  }
  const [plural = request.path, name] = rest;
  const resource = group === undefined ? plural : `${plural}.${group}`;
  const verb = verbOf(request, name !== undefined);
  const object = [namespace, name].filter((part) => part !== undefined).join('/');
  return { verb, resource, text: `${verb} ${resource}${object === '' ? '' : ` ${object}`}` };
}

function verbOf({ method, query }: Pick<KubeRequest, 'method' | 'query'>, namesOne: boolean): string {
  if (method !== 'GET') return VERBS[method];
  if (query?.['watch'] !== undefined) return 'watch';
  return namesOne ? 'get' : 'list';
}
