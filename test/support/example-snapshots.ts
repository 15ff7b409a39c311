import type { S3Location, Snapshot } from '../../src/snapshot/snapshot.ts';

/** A snapshot that node n1 has on its disk; its time is the number at the end of its name. */
export function exampleSnapshot(name: string, overrides: Partial<Snapshot> = {}): Snapshot {
  const seconds = Number(/(\d+)(\.zip)?$/.exec(name)?.[1] ?? 0);
  return {
    name,
    nodeName: 'n1',
    createdAt: new Date(seconds * 1000),
    size: 544,
    compressed: name.endsWith('.zip'),
    location: { store: 'local', path: `/snapshots/${name}` },
    ...overrides,
  };
}

/** Where an object of that name is in an example bucket. */
export function exampleS3Location(name: string, overrides: Partial<S3Location> = {}): S3Location {
  const prefix = overrides.prefix ?? 'a';
  return {
    store: 's3',
    endpoint: 's3.example.com',
    skipSSLVerify: false,
    insecure: false,
    region: 'us-east-1',
    bucket: 'etcd',
    prefix,
    key: `${prefix}/${name}`,
    ...overrides,
  };
}
