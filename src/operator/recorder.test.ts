import { expect, it } from 'vitest';
import { SnapshotError } from '../errors.ts';
import type { KubeRequest } from '../kube/api-request.ts';
import type { KubeClient } from '../kube/client.ts';
import { createClusterFacts } from '../kube/cluster-facts.ts';
import { createOperatorRecorder, type OperatorRecorderParts } from './recorder.ts';

const signal = new AbortController().signal;

it('what is saved while the API server is away still names the cluster, once its id was known', async () => {
  let away = false;
  const asked: string[] = [];
  const client = {
    async request({ path }: KubeRequest) {
      asked.push(path);
      if (away) throw new SnapshotError('unavailable', 'away', { retryable: true });
      return path.endsWith('/kube-system') ? { metadata: { uid: 'this-cluster' } } : { data: {} };
    },
  } as unknown as KubeClient;
  const warnings: unknown[] = [];
  const recorder = createOperatorRecorder({
    client,
    program: 'k3s',
    nodeName: 'n1',
    facts: createClusterFacts(client, 'k3s'),
    logger: { warn: (facts: unknown) => warnings.push(facts) },
  } as unknown as OperatorRecorderParts);
  expect(await recorder.facts(signal)).toEqual({ clusterId: 'this-cluster' });
  away = true;
  expect(await recorder.facts(signal)).toEqual({ clusterId: 'this-cluster' });
  expect(asked.filter((path) => path.endsWith('/kube-system'))).toHaveLength(1);
  // The metadata that somebody noted for snapshots may have changed since, and are not guessed.
  expect(warnings).toHaveLength(1);
});
