import { readdir } from 'node:fs/promises';
import { HeadObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { recordKeys, SEED_FINALIZER } from '../../src/crds/etcd-snapshot-file.ts';
import { runCommand } from '../support/command.ts';
import { copyIn, type OperatorScene, putObject, startScene } from '../support/operator-scene.ts';
import { grantRights } from '../support/operators.ts';
import { type S3Server, startS3 } from '../support/s3-server.ts';

const BUCKET = 'etcd';
const KEY = 'prod/by-hand-node-1-1730308817';
const ON_DISK = 'by-hand-node-1-1730308816';

let scene: OperatorScene;
let s3: S3Server;

beforeAll(async () => {
  [scene, s3] = await Promise.all([startScene(), startS3({ kind: 'versitygw' })]);
  await s3.createBucket(BUCKET);
});

afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
  await s3?.[Symbol.asyncDispose]();
});

it('after the operators are gone, --uninstall lets records and their definition be deleted, and all data stay', async () => {
  const { cluster } = scene;
  const operator = await scene.operator({ node: 'node-1', s3: s3.settings(BUCKET, 'prod') });
  await putObject(s3, BUCKET, KEY, { cluster: scene.clusterId, node: 'node-1' });
  await copyIn(operator, ON_DISK);
  await operator.ready();
  const finalizer = recordKeys('k3s').finalizer;
  const isBound = ({ metadata }: { readonly metadata: { readonly finalizers?: readonly string[] } }) =>
    metadata.finalizers?.includes(finalizer) === true;
  const local = await scene.recordOf(ON_DISK, isBound);
  const remote = await scene.recordOf('by-hand-node-1-1730308817', isBound);
  // As an operator of a cluster without k3s would have left one.
  await cluster.put({
    apiVersion: 'k3s.cattle.io/v1',
    kind: 'ETCDSnapshotFile',
    metadata: { name: 'from-elsewhere', finalizers: [SEED_FINALIZER, 'example.com/not-ours'] },
    spec: { snapshotName: 'elsewhere', nodeName: 'node-9', location: 'file:///elsewhere' },
  });
  const kubeconfig = await grantRights(scene.plane);
  const uninstall = () =>
    runCommand([
      'operator',
      '--uninstall',
      '--distribution=custom',
      `--dir=${operator.dir}`,
      `--kubeconfig=${kubeconfig}`,
    ]);

  const tooSoon = await uninstall();
  expect(tooSoon.code).toBe(1);
  expect(tooSoon.stderr).toContain('Stop the operators of all nodes');

  expect(await operator.stop()).toBe(0);
  // It waits for an operator that never comes again, until now.
  await cluster.run('delete', 'etcdsnapshotfile', local.metadata.name, '--wait=false');
  expect((await cluster.record(local.metadata.name))?.metadata.deletionTimestamp).toBeDefined();

  const done = await uninstall();
  expect([done.code, done.stderr]).toEqual([0, expect.stringContaining('Finalizers are lifted')]);
  expect(await cluster.record(local.metadata.name)).toBeUndefined();
  expect((await cluster.record('from-elsewhere'))?.metadata.finalizers).toEqual(['example.com/not-ours']);
  await cluster.run('delete', 'etcdsnapshotfile', remote.metadata.name, '--timeout=60s');
  await cluster.run(
    'patch',
    'etcdsnapshotfile',
    'from-elsewhere',
    '--type=merge',
    '-p={"metadata":{"finalizers":[]}}',
  );
  await cluster.run('delete', 'crd', 'etcdsnapshotfiles.k3s.cattle.io', '--timeout=60s');
  expect(await readdir(operator.dir)).toContain(ON_DISK);
  const looks = await s3.client().send(new HeadObjectCommand({ Bucket: BUCKET, Key: KEY }));
  expect(looks.ContentLength).toBeGreaterThan(0);

  // With no definition left there is nothing to do, and that is no failure.
  expect((await uninstall()).code).toBe(0);
});
