import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll } from 'vitest';
import type { ETCDSnapshotFile } from '../../src/crds/etcd-snapshot-file.ts';
import { type ClusterLooks, lookAt } from './cluster-looks.ts';
import { type ControlPlane, type ControlPlaneOptions, startControlPlane } from './control-plane.ts';
import { grantRights, type OperatorPlan, type RunningOperator, startOperator } from './operators.ts';
import { until } from './s3-looks.ts';
import { type S3Server, startS3 } from './s3-server.ts';
import { snapshotBytes } from './store-contract.ts';

const definitions = fileURLToPath(new URL('../../deploy/crds/', import.meta.url));

/** A cluster for operators: its control plane, and what they need to live in it. Ends with all that was started in it. */
export interface OperatorScene extends AsyncDisposable {
  readonly plane: ControlPlane;
  readonly cluster: ClusterLooks;
  /** UID of kube-system. */
  readonly clusterId: string;
  /** Applies the definitions of the records anew, and waits until they are served. */
  makeDefinitions(): Promise<void>;
  /** Makes the Node, once, and starts its operator. */
  operator(plan: Omit<OperatorPlan, 'plane' | 'kubeconfig'>): Promise<RunningOperator>;
  /** The one record of the snapshot of that name, once there is one and it is as asked. */
  recordOf(name: string, isSo?: (record: ETCDSnapshotFile) => boolean): Promise<ETCDSnapshotFile>;
  /** Until no record of that snapshot is left. */
  gone(name: string): Promise<void>;
  /** Until that Event was told of the object; returns its message. */
  told(object: string, reason: string, namespace?: string): Promise<string>;
}

/** Such a cluster beside an S3 server with that bucket. Both start and end with the file that calls it; to be read in tests only. */
export function sharedScene(bucket: string): { readonly scene: OperatorScene; readonly s3: S3Server } {
  let scene: OperatorScene;
  let s3: S3Server;
  beforeAll(async () => {
    [scene, s3] = await Promise.all([startScene(), startS3({ kind: 'versitygw' })]);
    await s3.createBucket(bucket);
  });
  afterAll(async () => {
    await scene?.[Symbol.asyncDispose]();
    await s3?.[Symbol.asyncDispose]();
  });
  return {
    get scene() {
      return scene;
    },
    get s3() {
      return s3;
    },
  };
}

export async function startScene(options: ControlPlaneOptions = {}): Promise<OperatorScene> {
  await using stack = new AsyncDisposableStack();
  const plane = stack.use(await startControlPlane(options));
  const cluster = lookAt(plane);
  const kubeconfig = await grantRights(plane);
  const { metadata } = await cluster.get<{ metadata: { uid: string } }>('/api/v1/namespaces/kube-system');
  // A definition that was just made is established before it can be served.
  const served = () =>
    until(() =>
      cluster.records().then(
        () => true,
        () => false,
      ),
    );
  await served();
  const nodes = new Set<string>();
  const moved = stack.move();
  return {
    plane,
    cluster,
    clusterId: metadata.uid,
    async makeDefinitions() {
      await cluster.run('apply', '-f', definitions);
      await served();
    },
    async operator(plan) {
      if (!nodes.has(plan.node)) {
        nodes.add(plan.node);
        await cluster.put({ apiVersion: 'v1', kind: 'Node', metadata: { name: plan.node } });
      }
      return moved.use(await startOperator({ plane, kubeconfig, ...plan }));
    },
    async recordOf(name, isSo = () => true) {
      for (;;) {
        const found = (await cluster.records()).filter(({ spec }) => spec.snapshotName === name);
        const [record] = found;
        if (found.length > 1) throw new Error(`${name} has ${found.length} records`);
        if (record !== undefined && isSo(record)) return record;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    gone: (name) =>
      until(async () => !(await cluster.records()).some(({ spec }) => spec.snapshotName === name)),
    async told(object, reason, namespace) {
      for (;;) {
        const event = (await cluster.events(object, namespace)).find((one) => one.reason === reason);
        if (event !== undefined) return event.message;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    [Symbol.asyncDispose]: () => moved[Symbol.asyncDispose](),
  };
}

/** Puts a snapshot into the folder as somebody's copy would come: under a temporary name first. */
export async function copyIn(operator: RunningOperator, name: string, pages = 2): Promise<string> {
  const path = join(operator.dir, name);
  await writeFile(path, snapshotBytes(pages), { mode: 0o600 });
  return path;
}

/** Metadata beside a snapshot, where k3s keeps it. */
export async function writeSidecar(
  operator: RunningOperator,
  name: string,
  metadata: Readonly<Record<string, string>>,
): Promise<void> {
  const path = join(dirname(operator.dir), '.metadata', name);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(path, JSON.stringify(metadata), { mode: 0o600 });
}

export interface ObjectOrigin {
  readonly cluster?: string;
  readonly node?: string;
  readonly tokenHash?: string;
}

/** An object as k3s uploads it, stamped with where it comes from. */
export async function putObject(
  s3: S3Server,
  bucket: string,
  key: string,
  origin: ObjectOrigin = {},
  pages = 2,
): Promise<void> {
  const stamp = {
    'k3s-cluster-id': origin.cluster,
    'k3s-node-name': origin.node,
    'k3s-token-hash': origin.tokenHash,
  };
  const Metadata = Object.fromEntries(
    Object.entries(stamp).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
  await s3
    .client()
    .send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: snapshotBytes(pages), Metadata }));
}
