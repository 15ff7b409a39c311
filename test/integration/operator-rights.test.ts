import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { copyIn, type OperatorScene, startScene, writeSidecar } from '../support/operator-scene.ts';
import { deployedRights, grantedRights, type Right, usedRights } from '../support/rights.ts';
import { until } from '../support/s3-looks.ts';
import { type S3Server, startS3 } from '../support/s3-server.ts';

const SECRET = 'k3s-etcd-snapshot-s3-config';
const CA_MAP = 'etcd-snapshot-s3-ca';
const USER = 'system:serviceaccount:kube-system:etcd-snapshot-operator';

let scene: OperatorScene;
let s3: S3Server;

beforeAll(async () => {
  [scene, s3] = await Promise.all([startScene({ audit: true }), startS3({ kind: 'versitygw', tls: true })]);
  await s3.createBucket('etcd');
});

afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
  await s3?.[Symbol.asyncDispose]();
});

/** Everything that an operator ever does to a cluster, once. */
async function liveThroughAll(): Promise<void> {
  const { cluster } = scene;
  await cluster.put({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: CA_MAP, namespace: 'kube-system' },
    data: { 'ca.crt': s3.ca?.pem ?? '' },
  });
  const operator = await scene.operator({
    node: 'node-1',
    args: ['--s3', `--s3-config-secret=${SECRET}`, '--snapshot-schedule-cron=@every 2s'],
  });
  await scene.told(SECRET, 'ETCDSnapshotS3Config', 'kube-system');
  await cluster.put({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: SECRET, namespace: 'kube-system' },
    type: 'etcd.k3s.cattle.io/s3-config-secret',
    stringData: {
      'etcd-s3-endpoint': s3.endpoint,
      'etcd-s3-endpoint-ca-name': CA_MAP,
      'etcd-s3-access-key': s3.accessKey,
      'etcd-s3-secret-key': s3.secretKey,
      'etcd-s3-bucket': 'etcd',
    },
  });
  await until(async () =>
    (await cluster.records('etcd-snapshot-')).some(({ spec }) => spec.s3 !== undefined),
  );

  const byHand = await copyIn(operator, 'by-hand-node-1-1730308816');
  await scene.recordOf('by-hand-node-1-1730308816');
  await writeSidecar(operator, 'by-hand-node-1-1730308816', { why: 'audit' });
  await scene.recordOf('by-hand-node-1-1730308816', ({ spec }) => spec.metadata?.['why'] === 'audit');
  await rm(byHand);
  await scene.gone('by-hand-node-1-1730308816');

  const [remote] = (await cluster.records('etcd-snapshot-')).filter(({ spec }) => spec.s3 !== undefined);
  await cluster.run('delete', 'etcdsnapshotfile', remote?.metadata.name ?? '');
  await scene.told(remote?.metadata.name ?? '', 'ETCDSnapshotDeleted');

  const other = 'by-hand-node-2-1730308816';
  await cluster.put({
    apiVersion: 'k3s.cattle.io/v1',
    kind: 'ETCDSnapshotFile',
    metadata: { name: 'of-a-departed-node', finalizers: ['etcd.k3s.cattle.io/snapshot-storage'] },
    spec: { snapshotName: other, nodeName: 'node-2', location: `file://${join(operator.dir, other)}` },
  });
  await cluster.run('delete', 'etcdsnapshotfile', 'of-a-departed-node');

  // Events that are told again are counted in the first one, at the latest when the operator ends.
  await copyIn(operator, 'held-node-1-1730308816');
  const { metadata } = await scene.recordOf('held-node-1-1730308816');
  await cluster.run('annotate', 'etcdsnapshotfile', metadata.name, 'etcd.k3s.cattle.io/snapshot-hold=yes');
  await cluster.run('delete', 'etcdsnapshotfile', metadata.name, '--wait=false');
  await scene.told(metadata.name, 'ETCDSnapshotHeld');
  await cluster.run('annotate', 'etcdsnapshotfile', metadata.name, 'looked=again');
  await cluster.run('delete', 'secret', '-n', 'kube-system', SECRET);
  await operator.part('s3', false);
  operator.kill('SIGTERM');
  await operator.exited;
}

it('the rights in deploy/rbac.yaml are exactly those that the operator uses', async () => {
  await liveThroughAll();
  const used = await usedRights(scene.plane.auditLog, USER);
  expect([...used.refused]).toEqual([]);
  const deployed = await deployedRights();
  const granted = grantedRights(deployed);
  const unused = (rights: ReadonlySet<Right>) =>
    [...rights].filter((right) => !used.granted.has(right)).toSorted();
  expect(unused(granted)).toEqual([]);
  expect([...used.granted].filter((right) => !granted.has(right)).toSorted()).toEqual([]);
  // Nor are they wider than what is used: all Secrets of the namespace would not do.
  const wider = grantedRights(deployed.replace(/^ *resourceNames: \[k3s-etcd-snapshot-s3-config\]\n/m, ''));
  expect(unused(wider)).toEqual(['list /secrets/* in kube-system', 'watch /secrets/* in kube-system']);
});
