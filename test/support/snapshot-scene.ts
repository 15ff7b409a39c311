import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, inject } from 'vitest';
import type { S3Settings } from '../../src/config/types.ts';
import type { ETCDSnapshotFile } from '../../src/crds/etcd-snapshot-file.ts';
import { toSnapshotFile } from '../../src/crds/mapping.ts';
import { connect, type KubeClient } from '../../src/kube/client.ts';
import { createSnapshotFilesApi } from '../../src/kube/snapshot-files-api.ts';
import { clusterIdOf } from '../../src/kube/snapshot-recorder.ts';
import type { Snapshot } from '../../src/snapshot/snapshot.ts';
import { s3Location } from '../../src/stores/s3-keys.ts';
import { type CommandResult, type RunningCommand, s3Env, s3Flags, startCommand } from './command.ts';
import { putObject } from './operator-scene.ts';
import { type S3Server, startS3 } from './s3-server.ts';
import { scratchDir } from './scratch.ts';
import { snapshotBytes } from './store-contract.ts';

const never = new AbortController().signal;
const SIZE = 2 * 512 + 32;

export interface SnapshotSceneOptions {
  readonly node: string;
  readonly s3?: { readonly server: S3Server; readonly bucket: string };
  readonly kube?: { readonly client: KubeClient; readonly kubeconfig: string };
}

/** A node with snapshots that are already there: files, objects and records, each made by hand. */
export interface SnapshotScene extends AsyncDisposable {
  readonly node: string;
  readonly dir: string;
  readonly settings: S3Settings | undefined;
  /** Puts it into the folder, its sidecar beside it, and makes its record where there is a cluster. */
  onDisk(name: string, record?: RecordWishes): Promise<void>;
  /** The same on S3, as of the node and the cluster that are told. */
  onS3(
    name: string,
    record?: RecordWishes & { readonly cluster?: string; readonly node?: string },
  ): Promise<void>;
  /** What lies in the snapshot folder, its sidecars and the folder on S3. */
  left(): Promise<{ readonly disk: string[]; readonly sidecars: string[]; readonly s3: string[] }>;
  /** The records of snapshots with this scene's node in their name. */
  records(): Promise<ETCDSnapshotFile[]>;
  start(...args: string[]): RunningCommand;
  run(...args: string[]): Promise<CommandResult>;
}

export interface RecordWishes {
  /** False: no record. */
  readonly record?: boolean;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly finalizers?: readonly string[];
}

/** What the scenes of a test file share: the cluster of all files, and an S3 server of its own with a bucket. */
export interface SnapshotPlaces {
  readonly kube: NonNullable<SnapshotSceneOptions['kube']>;
  readonly s3: NonNullable<SnapshotSceneOptions['s3']>;
}

/** Starts and ends with the file that calls it; to be read in tests only. */
export function sharedPlaces(): SnapshotPlaces {
  const kubeconfig = inject('kubeconfig');
  const bucket = 'etcd';
  let client: KubeClient;
  let server: S3Server;
  beforeAll(async () => {
    [client, server] = await Promise.all([connect(kubeconfig), startS3({ kind: 'versitygw' })]);
    await server.createBucket(bucket);
  });
  afterAll(async () => {
    await client?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });
  return {
    get kube() {
      return { client, kubeconfig };
    },
    get s3() {
      return { server, bucket };
    },
  };
}

export async function snapshotScene({ node, s3, kube }: SnapshotSceneOptions): Promise<SnapshotScene> {
  const scratch = await scratchDir('snapshots-');
  const dir = join(scratch.path, 'db/snapshots');
  const sidecars = join(dirname(dir), '.metadata');
  for (const folder of [dir, sidecars]) await mkdir(folder, { recursive: true, mode: 0o700 });
  const settings = s3?.server.settings(s3.bucket, node);
  const api = kube === undefined ? undefined : createSnapshotFilesApi(kube.client);
  const clusterId = kube === undefined ? undefined : await clusterIdOf(kube.client, never);
  const publish = async (snapshot: Snapshot, wishes: RecordWishes) => {
    if (api === undefined || wishes.record === false) return;
    const { metadata, ...file } = toSnapshotFile(snapshot, 'k3s');
    const annotations = { ...metadata.annotations, ...wishes.annotations };
    const { finalizers = [] } = wishes;
    await api.create({ ...file, metadata: { ...metadata, annotations, finalizers } }, never);
  };
  const snapshotOf = (name: string, location: Snapshot['location']): Snapshot => ({
    name,
    nodeName: node,
    createdAt: new Date(Number(/(\d+)(\.zip)?$/.exec(name)?.[1] ?? 0) * 1000),
    size: SIZE,
    compressed: name.endsWith('.zip'),
    location,
  });
  const objects = async (prefix: string) => {
    if (s3 === undefined) return [];
    const page = await s3.server
      .client()
      .send(new ListObjectsV2Command({ Bucket: s3.bucket, Prefix: prefix }));
    return (page.Contents ?? []).map(({ Key = '' }) => Key.slice(prefix.length)).toSorted();
  };
  const start = (...args: string[]) =>
    startCommand(
      [
        '--distribution=custom',
        `--node-name=${node}`,
        `--dir=${dir}`,
        ...(settings === undefined ? [] : s3Flags(settings)),
        ...(kube === undefined ? [] : [`--kubeconfig=${kube.kubeconfig}`]),
        ...args,
      ],
      settings === undefined ? {} : s3Env(settings),
    );
  return {
    node,
    dir,
    settings,
    start,
    async onDisk(name, wishes = {}) {
      await writeFile(join(dir, name), snapshotBytes(2), { mode: 0o600 });
      await writeFile(join(sidecars, name), '{"why":"test"}', { mode: 0o600 });
      await publish(snapshotOf(name, { store: 'local', path: join(dir, name) }), wishes);
    },
    async onS3(name, { cluster = clusterId, node: origin = node, ...wishes } = {}) {
      if (s3 === undefined || settings === undefined) throw new Error('this scene has no S3');
      const { bucket, server } = s3;
      const stamp = { node: origin, ...(cluster === undefined ? {} : { cluster }) };
      await putObject(server, bucket, `${settings.folder}/${name}`, stamp);
      const Key = `${settings.folder}/.metadata/${name}`;
      await server.client().send(new PutObjectCommand({ Bucket: bucket, Key, Body: '{"why":"test"}' }));
      await publish({ ...snapshotOf(name, s3Location(settings, name)), nodeName: origin }, wishes);
    },
    async left() {
      return {
        disk: (await readdir(dir)).toSorted(),
        sidecars: (await readdir(sidecars)).toSorted(),
        s3: settings === undefined ? [] : await objects(`${settings.folder}/`),
      };
    },
    async records() {
      const found: ETCDSnapshotFile[] = [];
      for await (const file of api?.list({}, never) ?? []) {
        if (file.spec.snapshotName.includes(`-${node}-`)) found.push(file);
      }
      return found;
    },
    run: (...args) => start(...args).done,
    [Symbol.asyncDispose]: () => scratch[Symbol.asyncDispose](),
  };
}
