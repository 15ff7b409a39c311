import { expect, it } from 'vitest';
import { exampleS3Location, exampleSnapshot } from '../../test/support/example-snapshots.ts';
import { SnapshotError } from '../errors.ts';
import type { KubeRequest } from '../kube/api-request.ts';
import type { KubeClient } from '../kube/client.ts';
import { createClusterFacts } from '../kube/cluster-facts.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
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

it('a file that is gone by the time of its record gets none; a failure, and a copy on S3, have no file to look for', async () => {
  const published: string[] = [];
  const recorder = createOperatorRecorder({
    client: {},
    program: 'k3s',
    nodeName: 'n1',
    facts: {},
    folder: { stat: async (name: string) => (name === 'there-n1-1' ? exampleSnapshot(name) : undefined) },
    writer: { publish: async ({ name }: Snapshot) => published.push(name) },
  } as unknown as OperatorRecorderParts);
  const failure = { time: new Date(0), message: 'why' };
  for (const snapshot of [
    exampleSnapshot('there-n1-1'),
    exampleSnapshot('gone-n1-1'),
    exampleSnapshot('failed-n1-1', { failure }),
    exampleSnapshot('object-n1-1', { location: exampleS3Location('object-n1-1') }),
  ])
    await recorder.record(snapshot, signal);
  expect(published).toEqual(['there-n1-1', 'failed-n1-1', 'object-n1-1']);
});
