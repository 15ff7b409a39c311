import { type Program, recordKeys, snapshotFileResource } from '../crds/etcd-snapshot-file.ts';
import { SnapshotError } from '../errors.ts';
import { isObjectMissing } from './api-errors.ts';
import type { KubeClient } from './client.ts';
import { clusterIdOf } from './snapshot-recorder.ts';

const DEFINITION = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${snapshotFileResource.plural}.${snapshotFileResource.group}`;

/** What the operator asks the cluster about besides its records. Everything throws as `KubeClient.request` does. */
export interface ClusterFacts {
  /** UID of kube-system, asked once. */
  clusterId(signal: AbortSignal): Promise<string>;
  /** Whether the definition of the records is being deleted, or gone. */
  definitionIsGoing(signal: AbortSignal): Promise<boolean>;
  nodeIsGone(name: string, signal: AbortSignal): Promise<boolean>;
  /** Notes on the node when its records were last brought into step with a store, as k3s does. False: there is no such node. */
  annotateNode(name: string, store: 'local' | 's3', time: Date, signal: AbortSignal): Promise<boolean>;
  /** What the k3s server on that node has to do with S3. */
  k3sOn(node: string, signal: AbortSignal): Promise<K3sOnNode>;
  /** Metadata by list key (`local-<name>`, `s3-<name>`) that k3s keeps in its old ConfigMap. */
  legacyMetadata(signal: AbortSignal): Promise<ReadonlyMap<string, Readonly<Record<string, string>>>>;
}

export interface K3sOnNode {
  /** When it last brought the records of S3 into step; undefined: it never has. */
  readonly s3Kept: Date | undefined;
  /** Whether it was started with `--etcd-s3`, be it from its config file: known before it has looked at S3 for the first time. */
  readonly s3Asked: boolean;
}

export function createClusterFacts(client: KubeClient, program: Program): ClusterFacts {
  let id: string | undefined;
  const get = async <T>(path: string, signal: AbortSignal): Promise<T | undefined> => {
    try {
      return await client.request<T>({ method: 'GET', path, signal });
    } catch (error) {
      if (isObjectMissing(error)) return undefined;
      throw error;
    }
  };
  return {
    async clusterId(signal) {
      id ??= await clusterIdOf(client, signal);
      if (id !== undefined) return id;
      throw new SnapshotError('protocol', 'The namespace kube-system has no UID', {
        hint: 'Check that the server address names a Kubernetes API server.',
      });
    },
    async definitionIsGoing(signal) {
      const definition = await get<{ metadata: { deletionTimestamp?: string } }>(DEFINITION, signal);
      return definition === undefined || definition.metadata.deletionTimestamp !== undefined;
    },
    nodeIsGone: async (name, signal) => (await get(nodePath(name), signal)) === undefined,
    async annotateNode(name, store, time, signal) {
      // The key has no room for a JSON Patch where a node has no annotations at all: a merge patch makes them.
      const key = recordKeys(program).snapshotsTimestamp[store];
      const annotations = { [key]: time.toISOString().replace(/\.\d{3}Z$/, 'Z') };
      try {
        await client.request({
          method: 'PATCH',
          path: nodePath(name),
          contentType: 'application/merge-patch+json',
          body: { metadata: { annotations } },
          signal,
        });
        return true;
      } catch (error) {
        if (isObjectMissing(error)) return false;
        throw error;
      }
    },
    async k3sOn(name, signal) {
      const node = await get<{ metadata: { annotations?: Readonly<Record<string, string>> } }>(
        nodePath(name),
        signal,
      );
      const annotations = node?.metadata.annotations ?? {};
      const time = annotations[recordKeys(program).snapshotsTimestamp.s3];
      return {
        s3Asked: asksForS3(annotations[`${program}.io/node-args`]),
        s3Kept: time === undefined ? undefined : new Date(time),
      };
    },
    async legacyMetadata(signal) {
      const path = `/api/v1/namespaces/kube-system/configmaps/${program}-etcd-snapshots`;
      const map = await get<{ data?: Readonly<Record<string, string>> }>(path, signal);
      const entries = Object.entries(map?.data ?? {}).map(
        ([key, value]) => [key, metadataIn(value)] as const,
      );
      return new Map(entries.flatMap(([key, metadata]) => (metadata === undefined ? [] : [[key, metadata]])));
    },
  };
}

function nodePath(name: string): string {
  return `/api/v1/nodes/${encodeURIComponent(name)}`;
}

/** k3s notes its arguments, and what its config file adds to them, as a JSON list of words: `["server","--etcd-s3","true"]`. */
function asksForS3(args: string | undefined): boolean {
  const words: unknown = jsonOf(args ?? '');
  if (!Array.isArray(words)) return false;
  const at = words.lastIndexOf('--etcd-s3');
  return at !== -1 && words[at + 1] !== 'false';
}

/** Undefined for what is no JSON. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** `metadata` of an entry is base64 of a JSON object of strings. */
function metadataIn(entry: string): Readonly<Record<string, string>> | undefined {
  const fields: unknown = jsonOf(entry);
  if (typeof fields !== 'object' || fields === null || !('metadata' in fields)) return undefined;
  const { metadata } = fields;
  if (typeof metadata !== 'string' || metadata === '') return undefined;
  const value: unknown = jsonOf(Buffer.from(metadata, 'base64').toString('utf8'));
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  const strings = Object.entries(value).filter(
    (pair): pair is [string, string] => typeof pair[1] === 'string',
  );
  return strings.length === 0 ? undefined : Object.fromEntries(strings);
}
