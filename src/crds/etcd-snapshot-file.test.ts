import { describe, expect, it } from 'vitest';
import { type JsonSchema, problems, schemaOf, snapshotFileCrd } from '../../test/support/crd-validator.ts';
import { type ETCDSnapshotFile, snapshotFileResource } from './etcd-snapshot-file.ts';

type Whole<T> =
  T extends Readonly<Record<string, string>>
    ? { [K in keyof T]-?: T[K] }
    : T extends object
      ? { [K in keyof T]-?: Whole<NonNullable<T[K]>> }
      : NonNullable<T>;

/** The compiler wants every member of the type here, and the first test every property of the schema. */
const whole: Omit<ETCDSnapshotFile, 'metadata' | 'spec' | 'status'> & {
  metadata: { name: string };
  spec: Whole<ETCDSnapshotFile['spec']>;
  status: Whole<NonNullable<ETCDSnapshotFile['status']>>;
} = {
  apiVersion: 'k3s.cattle.io/v1',
  kind: 'ETCDSnapshotFile',
  metadata: { name: 'local-a-000000' },
  spec: {
    snapshotName: 'a',
    nodeName: 'n1',
    location: 'file:///a',
    metadata: { key: 'value' },
    s3: {
      endpoint: 's3.example.com',
      endpointCA: 'Q0E=',
      skipSSLVerify: true,
      bucket: 'etcd',
      bucketLookup: 'auto',
      region: 'us-east-1',
      prefix: 'k3s',
      insecure: true,
    },
  },
  status: {
    size: '1',
    creationTime: '2024-10-30T17:20:16Z',
    readyToUse: false,
    error: { time: '2024-10-30T17:20:16Z', message: 'no' },
  },
};

function leaves(value: unknown, path = ''): string[] {
  if (typeof value !== 'object' || value === null) return [path];
  return Object.entries(value).flatMap(([key, inner]) => leaves(inner, `${path}.${key}`));
}

function schemaLeaves(schema: JsonSchema, path = ''): string[] {
  if (typeof schema.additionalProperties === 'object') return [`${path}.key`];
  if (schema.properties === undefined) return [path];
  return Object.entries(schema.properties).flatMap(([key, inner]) => schemaLeaves(inner, `${path}.${key}`));
}

function schemaAt(path: string[]): JsonSchema {
  let schema = schemaOf(snapshotFileCrd);
  for (const key of path) {
    const inner: JsonSchema | undefined = schema.properties?.[key];
    if (inner === undefined) throw new Error(`no ${key}`);
    schema = inner;
  }
  return schema;
}

describe('the CustomResourceDefinition', () => {
  it('has the same properties as the type', () => {
    expect(problems(snapshotFileCrd, whole)).toEqual([]);
    const typed = leaves(whole).map((path) => (path === '.metadata.name' ? '.metadata' : path));
    expect(schemaLeaves(schemaOf(snapshotFileCrd)).toSorted()).toEqual(typed.toSorted());
  });

  it('has the names of the type, is cluster-scoped and has no status subresource', () => {
    const { spec, metadata } = snapshotFileCrd;
    expect(metadata.name).toBe(`${snapshotFileResource.plural}.${snapshotFileResource.group}`);
    expect(spec).toMatchObject({ group: snapshotFileResource.group, scope: 'Cluster' });
    expect(spec.names).toEqual({
      kind: snapshotFileResource.kind,
      listKind: 'ETCDSnapshotFileList',
      plural: snapshotFileResource.plural,
      singular: 'etcdsnapshotfile',
    });
    expect(spec.versions).toHaveLength(1);
    expect(spec.versions[0]).toMatchObject({
      name: snapshotFileResource.version,
      served: true,
      storage: true,
    });
    expect(spec.versions[0]?.subresources).toBeUndefined();
  });

  it('prints exactly the columns of the seed, as strings', () => {
    expect(snapshotFileCrd.spec.versions[0]?.additionalPrinterColumns).toEqual([
      { name: 'SnapshotName', type: 'string', jsonPath: '.spec.snapshotName' },
      { name: 'Node', type: 'string', jsonPath: '.spec.nodeName' },
      { name: 'Location', type: 'string', jsonPath: '.spec.location' },
      { name: 'Size', type: 'string', jsonPath: '.status.size' },
      { name: 'CreationTime', type: 'string', jsonPath: '.status.creationTime' },
    ]);
  });

  it('requires location, node and name, and takes a size as number or quantity', () => {
    expect(schemaAt(['spec']).required).toEqual(['location', 'nodeName', 'snapshotName']);
    const size = (value: unknown) =>
      problems(snapshotFileCrd, { ...whole, status: { ...whole.status, size: value } });
    for (const good of [0, 2_891_808, '2891808', '3M', '1.5Gi', '1e3']) expect(size(good)).toEqual([]);
    for (const bad of ['many', '', true]) expect(size(bad)).not.toEqual([]);
    expect(schemaAt(['status', 'size'])).toMatchObject({ 'x-kubernetes-int-or-string': true });
  });

  it('describes every property in words', () => {
    const wordless = (schema: JsonSchema, path: string): string[] =>
      Object.entries(schema.properties ?? {}).flatMap(([key, inner]) => [
        ...(typeof inner['description'] === 'string' || key === 'metadata' ? [] : [`${path}.${key}`]),
        ...wordless(inner, `${path}.${key}`),
      ]);
    expect(wordless(schemaOf(snapshotFileCrd), '')).toEqual([]);
  });
});
