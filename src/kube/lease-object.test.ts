import { expect, it } from 'vitest';
import type { KubeRequest } from './api-request.ts';
import { createLeaseApi } from './lease-object.ts';

it('no call for the Lease waits behind other calls', async () => {
  const requests: KubeRequest[] = [];
  const lease = { metadata: { name: 'leader' } };
  const client = {
    async request<T>(request: KubeRequest): Promise<T> {
      requests.push(request);
      return lease as T;
    },
  };
  const api = createLeaseApi(client, 'kube-system', 'leader', 3_000);
  await api.get(new AbortController().signal);
  await api.create({});
  await api.update(lease, {});
  expect(requests.map(({ method, urgent }) => [method, urgent])).toEqual([
    ['GET', true],
    ['POST', true],
    ['PUT', true],
  ]);
});
