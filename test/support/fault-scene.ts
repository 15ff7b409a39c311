import { readdir } from 'node:fs/promises';
import { ListMultipartUploadsCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import { expect } from 'vitest';
import type { S3Settings } from '../../src/config/types.ts';
import type { ETCDSnapshotFile } from '../../src/crds/etcd-snapshot-file.ts';
import { connect, type KubeClient } from '../../src/kube/client.ts';
import { createSnapshotFilesApi } from '../../src/kube/snapshot-files-api.ts';
import { type ClusterLooks, lookAt } from './cluster-looks.ts';
import { type ControlPlane, type ControlPlaneOptions, startControlPlane } from './control-plane.ts';
import { type FaultFront, startFaultFront } from './fault-front.ts';
import { grantRights, type OperatorPlan, type RunningOperator, startOperator } from './operators.ts';
import { until } from './s3-looks.ts';
import { type S3Server, startS3 } from './s3-server.ts';
import { scratchDir } from './scratch.ts';

const BUCKET = 'etcd';
const CONVERGES_WITHIN_MS = 60_000;
const never = new AbortController().signal;

/** What a save leaves on a node. */
type Saving = Pick<RunningOperator, 'node' | 'dir'>;

/** Operators of one cluster, whose S3 is behind a front. Each test has a folder of the bucket and node names of its own. */
export interface OperatorScene extends AsyncDisposable {
  readonly plane: ControlPlane;
  readonly cluster: ClusterLooks;
  /** With the rights of an administrator. */
  readonly client: KubeClient;
  /** With the rights of `deploy/`. */
  readonly kubeconfig: string;
  readonly s3: S3Server;
  /** All operators reach S3 through it. */
  readonly front: FaultFront;
  readonly bucket: string;
  /** A folder for files of the test. */
  readonly scratch: string;
  settings(folder: string): S3Settings;
  /** Starts an operator, on a Node that is made when it is missing; its user agent on S3 names the node. */
  start(plan: SceneOperator): Promise<RunningOperator>;
  records(): Promise<readonly ETCDSnapshotFile[]>;
  /** Name of the record of that snapshot, once there is one that carries a finalizer. */
  recordOf(snapshot: string): Promise<string>;
  /** Deletes a record as people do, without waiting for its end. */
  deleteRecord(name: string): Promise<void>;
  /** Keys below the folder, without it. */
  objects(folder: string): Promise<readonly string[]>;
  openUploads(folder: string): Promise<readonly string[]>;
  /** Waits until records, files and objects are the same, and nothing half-made is left. @throws the difference, after a minute */
  converge(folder: string, operators: readonly Saving[], wanted?: Wanted): Promise<void>;
  /** Ends the operators of a test and heals the front. */
  endAll(): Promise<void>;
}

export interface SceneOperator extends Omit<OperatorPlan, 'plane' | 'kubeconfig' | 's3'> {
  readonly kubeconfig?: string;
  /** Folder of the bucket; left out: no S3. */
  readonly folder?: string;
}

export interface Wanted {
  /**
   * How many uploads S3 may have begun that nobody knows: they have no parts, and look like another cluster's. They and their
   * notes wait for a day. Default 0.
   */
  readonly unnamed?: number;
  /** How many whole snapshots are on disk, or on S3; any number unless given. */
  readonly files?: number;
  readonly objects?: number;
  /** Of failed saves; none unless given. */
  readonly failed?: number;
}

export async function startOperatorScene(options: ControlPlaneOptions = {}): Promise<OperatorScene> {
  const [plane, s3, scratch] = await Promise.all([
    startControlPlane(options),
    startS3({ kind: 'versitygw' }),
    scratchDir('scene-'),
  ]);
  await s3.createBucket(BUCKET);
  const front = await startFaultFront(s3.url);
  const kubeconfig = await grantRights(plane);
  const client = await connect(plane.kubeconfig);
  const cluster = lookAt(plane);
  const files = createSnapshotFilesApi(client);
  const nodes = new Set<string>();
  const running = new Set<RunningOperator>();
  const settings = (folder: string) => ({ ...s3.settings(BUCKET, folder), endpoint: front.endpoint });

  const scene: OperatorScene = {
    plane,
    cluster,
    client,
    kubeconfig,
    s3,
    front,
    bucket: BUCKET,
    scratch: scratch.path,
    settings,
    async start({ folder, ...plan }) {
      if (!nodes.has(plan.node)) {
        nodes.add(plan.node);
        const body = { apiVersion: 'v1', kind: 'Node', metadata: { name: plan.node } };
        await client.request({ method: 'POST', path: '/api/v1/nodes', body, signal: never });
      }
      const operator = await startOperator({
        plane,
        kubeconfig,
        ...(folder === undefined ? {} : { s3: settings(folder) }),
        ...plan,
        env: { AWS_SDK_UA_APP_ID: plan.node, ...plan.env },
      });
      running.add(operator);
      return operator;
    },
    async records() {
      const all: ETCDSnapshotFile[] = [];
      for await (const file of files.list({}, never)) all.push(file);
      return all;
    },
    async recordOf(snapshot) {
      let found: ETCDSnapshotFile | undefined;
      await until(async () => {
        const all = await scene.records();
        found = all.find(({ spec, metadata }) => spec.snapshotName === snapshot && metadata.finalizers);
        return found !== undefined;
      });
      return found?.metadata.name ?? '';
    },
    async deleteRecord(name) {
      const path = `/apis/k3s.cattle.io/v1/etcdsnapshotfiles/${name}`;
      await client.request({ method: 'DELETE', path, signal: never });
    },
    async objects(folder) {
      const input = { Bucket: BUCKET, Prefix: `${folder}/` };
      const found = await s3.client().send(new ListObjectsV2Command(input));
      return (found.Contents ?? []).map(({ Key = '' }) => Key.slice(folder.length + 1)).toSorted();
    },
    async openUploads(folder) {
      const input = { Bucket: BUCKET, Prefix: `${folder}/` };
      const found = await s3.client().send(new ListMultipartUploadsCommand(input));
      return (found.Uploads ?? []).map(({ Key = '' }) => Key);
    },
    async converge(folder, operators, wanted = {}) {
      await expect
        .poll(() => differences(scene, folder, operators, wanted), {
          timeout: CONVERGES_WITHIN_MS,
          interval: 100,
        })
        .toEqual([]);
    },
    async endAll() {
      front.setRule(() => undefined);
      await Promise.all(
        [...running].map(async (operator) => {
          operator.kill('SIGCONT');
          operator.kill('SIGTERM');
          await operator.exited;
          await operator[Symbol.asyncDispose]();
        }),
      );
      running.clear();
    },
    async [Symbol.asyncDispose]() {
      for (const operator of running) await operator[Symbol.asyncDispose]();
      await client[Symbol.asyncDispose]();
      await front[Symbol.asyncDispose]();
      await s3[Symbol.asyncDispose]();
      await plane[Symbol.asyncDispose]();
      await scratch[Symbol.asyncDispose]();
    },
  };
  // A definition that was just made is established before its storage is ready.
  await until(() =>
    scene.records().then(
      () => true,
      () => false,
    ),
  );
  return scene;
}

/** What is not as it should be when all is done, in words. */
async function differences(
  scene: OperatorScene,
  folder: string,
  operators: readonly Saving[],
  wanted: Wanted,
): Promise<string[]> {
  const [records, objects, uploads] = await Promise.all([
    scene.records(),
    scene.objects(folder),
    scene.openUploads(folder),
  ]);
  const nodes = operators.map(({ node }) => node);
  const ours = records.filter(({ spec }) =>
    spec.s3 === undefined ? nodes.includes(spec.nodeName) : spec.s3.prefix === folder,
  );
  const failed = ours.filter(({ status }) => status?.error !== undefined);
  const good = ours.filter(({ status }) => status?.error === undefined);
  const different: string[] = [];
  const note = (what: string, is: unknown, should: unknown) => {
    if (JSON.stringify(is) !== JSON.stringify(should))
      different.push(`${what}: ${JSON.stringify(is)}, not ${JSON.stringify(should)}`);
  };
  let count = 0;
  for (const { node, dir } of operators) {
    const names = await readdir(dir);
    const snapshots = names.filter((name) => !name.startsWith('.')).toSorted();
    count += snapshots.length;
    const isNote = (name: string) => name.endsWith('.upload');
    const leftovers = names.filter((name) => name.startsWith('.'));
    const notes = leftovers.filter(isNote).slice(wanted.unnamed ?? 0);
    note(`leftovers of ${node}`, [...leftovers.filter((name) => !isNote(name)), ...notes], []);
    const recorded = good.filter(({ spec }) => spec.s3 === undefined && spec.nodeName === node);
    note(`records of the disk of ${node}`, namesOf(recorded), snapshots);
  }
  note('records of S3', namesOf(good.filter(({ spec }) => spec.s3 !== undefined)), objects);
  note('unfinished uploads', uploads.slice(wanted.unnamed ?? 0), []);
  note('records that wait for their end', namesOf(ours.filter(isLeaving)), []);
  note('records not ready', namesOf(good.filter(({ status }) => status?.readyToUse !== true)), []);
  if (failed.length !== (wanted.failed ?? 0)) {
    different.push(...failed.map(({ spec, status }) => `${spec.snapshotName}: ${status?.error?.message}`));
    note('failed', failed.length, wanted.failed ?? 0);
  }
  if (wanted.files !== undefined) note('files', count, wanted.files);
  if (wanted.objects !== undefined) note('objects', objects.length, wanted.objects);
  return different;
}

function namesOf(records: readonly ETCDSnapshotFile[]): string[] {
  return records.map(({ spec }) => spec.snapshotName).toSorted();
}

function isLeaving({ metadata }: ETCDSnapshotFile): boolean {
  return metadata.deletionTimestamp !== undefined;
}
