import { isObjectMissing } from './api-errors.ts';
import type { KubeClient } from './client.ts';
import { FIELD_MANAGER } from './snapshot-files-api.ts';

/** The members of a coordination.k8s.io/v1 Lease that we read or write; whatever else it carries is kept. */
export interface LeaseObject {
  readonly metadata: { readonly name: string; readonly resourceVersion?: string };
  readonly spec?: LeaseSpec;
}

export interface LeaseSpec {
  /** Empty when its holder has given it back. */
  readonly holderIdentity?: string;
  readonly leaseDurationSeconds?: number;
  /** RFC 3339 with microseconds, which Kubernetes insists on. */
  readonly acquireTime?: string;
  readonly renewTime?: string;
  /** How often it has changed hands. */
  readonly leaseTransitions?: number;
}

/** One Lease in the API server. Everything throws as `KubeClient.request` does. */
export interface LeaseApi {
  get(signal: AbortSignal): Promise<LeaseObject | undefined>;
  /** @throws SnapshotError `exists` */
  create(spec: LeaseSpec): Promise<LeaseObject>;
  /** Writes over the version that was read. @throws SnapshotError `conflict` when it has changed since */
  update(lease: LeaseObject, spec: LeaseSpec): Promise<LeaseObject>;
}

/** @param timeoutMs of each call; writes end with nothing else: one that is cut off may have been done or not */
export function createLeaseApi(
  client: Pick<KubeClient, 'request'>,
  namespace: string,
  name: string,
  timeoutMs: number,
): LeaseApi {
  const collection = `/apis/coordination.k8s.io/v1/namespaces/${encodeURIComponent(namespace)}/leases`;
  const path = `${collection}/${encodeURIComponent(name)}`;
  const write = (method: 'POST' | 'PUT', to: string, body: LeaseObject) => {
    const query = { fieldManager: FIELD_MANAGER };
    const { signal } = new AbortController();
    return client.request<LeaseObject>({ method, path: to, query, body, timeoutMs, signal, urgent: true });
  };
  return {
    async get(signal) {
      try {
        return await client.request<LeaseObject>({ method: 'GET', path, timeoutMs, signal, urgent: true });
      } catch (error) {
        if (isObjectMissing(error)) return undefined;
        throw error;
      }
    },
    create(spec) {
      const kind = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease' };
      const lease = { ...kind, metadata: { name, namespace }, spec };
      return write('POST', collection, lease);
    },
    update: (lease, spec) => write('PUT', path, { ...lease, spec: { ...lease.spec, ...spec } }),
  };
}

/**
 * @param serial makes two times differ that the clock shows as one: a write that changes nothing is none for the API
 *   server, and nobody would see it
 */
export function microTime(time: Date, serial: number): string {
  return time.toISOString().replace('Z', `${String(serial % 1000).padStart(3, '0')}Z`);
}
