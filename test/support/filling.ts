import { randomBytes, randomUUID } from 'node:crypto';

const POOL_BYTES = 8 * 1024 * 1024;

/**
 * Values that compress about as objects of Kubernetes do: text in which little but names, ids and hashes changes, with
 * certificates and Helm releases (base64 of what is compressed already) between. They are cut from one pool at changing places,
 * because making each anew would take longer than storing it; the places lie further apart than a compressor looks back.
 * @returns a function that gives the next value, of exactly so many bytes
 */
export function kubernetesLikeValues(valueBytes: number): () => Buffer {
  const pool = makePool(POOL_BYTES + valueBytes);
  let from = 0;
  return () => {
    const value = pool.subarray(from, from + valueBytes);
    from = (from + valueBytes + 65_537) % POOL_BYTES;
    return value;
  };
}

function makePool(bytes: number): Buffer {
  const parts: Buffer[] = [];
  let size = 0;
  for (let at = 0; size < bytes; at += 1) {
    const part = Buffer.from(JSON.stringify(at % 2 === 1 ? secret(at) : pod(at)));
    parts.push(part);
    size += part.length;
  }
  return Buffer.concat(parts, size).subarray(0, bytes);
}

function pod(at: number): object {
  const hash = randomBytes(5).toString('hex');
  const condition = (type: string) => ({
    type,
    status: 'True',
    lastProbeTime: null,
    lastTransitionTime: new Date(1_730_000_000_000 + at * 1000).toISOString(),
  });
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `web-${hash}-${at}`,
      namespace: `team-${at % 17}`,
      uid: randomUUID(),
      resourceVersion: String(100_000 + at),
      labels: { app: 'web', 'pod-template-hash': hash, 'app.kubernetes.io/instance': `release-${at % 5}` },
      ownerReferences: [
        { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: `web-${hash}`, uid: randomUUID() },
      ],
    },
    spec: {
      nodeName: `node-${at % 9}`,
      containers: [
        {
          name: 'web',
          image: `registry.example/web@sha256:${randomBytes(32).toString('hex')}`,
          resources: { limits: { cpu: '500m', memory: '256Mi' }, requests: { cpu: '100m', memory: '128Mi' } },
          volumeMounts: [{ name: 'token', mountPath: '/var/run/secrets/kubernetes.io/serviceaccount' }],
        },
      ],
    },
    status: {
      phase: 'Running',
      podIP: `10.42.${at % 256}.${(at * 7) % 256}`,
      conditions: ['Initialized', 'Ready', 'ContainersReady', 'PodScheduled'].map(condition),
    },
  };
}

function secret(at: number): object {
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    type: 'helm.sh/release.v1',
    metadata: { name: `sh.helm.release.v1.web.v${at}`, namespace: `team-${at % 17}`, uid: randomUUID() },
    data: { release: randomBytes(900).toString('base64') },
  };
}
