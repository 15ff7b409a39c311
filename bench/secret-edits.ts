import { performance } from 'node:perf_hooks';
import type { KubeClient } from '../src/kube/client.ts';
import type { FaultFront } from '../test/support/fault-front.ts';
import type { S3User } from '../test/support/s3-users.ts';

/** In kube-system; the operator of the benchmark has its settings of S3 from there. */
export const SECRET = 'k3s-etcd-snapshot-s3-config';
const never = new AbortController().signal;

interface SecretBed {
  readonly client: KubeClient;
  /** Before S3. */
  readonly front: FaultFront;
}

/** From the moment that the edit is sent until S3 sees a request that is signed with that user's key. */
export async function editSeconds(bed: SecretBed, user: S3User | undefined): Promise<number> {
  const { promise: seen, resolve } = Promise.withResolvers<number>();
  bed.front.setRule(({ headers }) => {
    if (headers.authorization?.includes(`Credential=${user?.accessKey}/`)) resolve(performance.now());
    return undefined;
  });
  const began = performance.now();
  await writeSecret(bed, user);
  return ((await seen) - began) / 1000;
}

export async function writeSecret(bed: SecretBed, user: S3User | undefined): Promise<void> {
  const path = '/api/v1/namespaces/kube-system/secrets';
  const body = {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: SECRET },
    type: 'etcd.k3s.cattle.io/s3-config-secret',
    stringData: {
      'etcd-s3-endpoint': bed.front.endpoint,
      'etcd-s3-insecure': 'true',
      'etcd-s3-bucket': 'bench',
      'etcd-s3-folder': 'prod',
      'etcd-s3-region': 'us-east-1',
      'etcd-s3-access-key': user?.accessKey,
      'etcd-s3-secret-key': user?.secretKey,
    },
  };
  const query = { fieldManager: 'bench', force: 'true' };
  const contentType = 'application/apply-patch+yaml';
  await bed.client.request({
    method: 'PATCH',
    path: `${path}/${SECRET}`,
    query,
    body,
    contentType,
    signal: never,
  });
}
