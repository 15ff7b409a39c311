import { execFile } from 'node:child_process';
import { readdir, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { HeadObjectCommand } from '@aws-sdk/client-s3';
import { expect, it } from 'vitest';
import { recordKeys, SEED_FINALIZER } from '../../src/crds/etcd-snapshot-file.ts';
import { runCommand } from '../support/command.ts';
import { copyIn, putObject, sharedScene } from '../support/operator-scene.ts';
import { grantRights, startOperator } from '../support/operators.ts';
import { scratchDir } from '../support/scratch.ts';
import { toolPath } from '../tools/toolbox.ts';

const BUCKET = 'etcd';
const KEY = 'prod/by-hand-node-1-1730308817';
const ON_DISK = 'by-hand-node-1-1730308816';

const bed = sharedScene(BUCKET);

it('an operator on a node works with the kubeconfig that docs/operations.md tells to make, and with its rights alone', async () => {
  await using scratch = await scratchDir('on-a-node-');
  const page = await readFile(new URL('../../docs/operations.md', import.meta.url), 'utf8');
  const [, block = ''] = /```sh\n(umask 077\n[^`]*)```/.exec(page) ?? [];
  expect(block.trim().split('\n')).toHaveLength(12);
  const etc = join(scratch.path, 'etcd-snapshot');
  const path = `${dirname(await toolPath('kubectl'))}:${process.env['PATH']}`;
  await promisify(execFile)('bash', ['-euc', block.replaceAll('/etc/etcd-snapshot', etc)], {
    env: { PATH: path, HOME: scratch.path, KUBECONFIG: bed.scene.plane.kubeconfig },
  });
  const kubeconfig = join(etc, 'operator.kubeconfig');
  expect((await stat(kubeconfig)).mode & 0o077).toBe(0);
  await using operator = await startOperator({ plane: bed.scene.plane, kubeconfig, node: 'on-a-node' });
  await operator.ready();
  await copyIn(operator, 'by-hand-on-a-node-1730308816');
  const finalizer = recordKeys('k3s').finalizer;
  await bed.scene.recordOf('by-hand-on-a-node-1730308816', ({ metadata }) =>
    Boolean(metadata.finalizers?.includes(finalizer)),
  );
  // Not those of the administrator whose kubeconfig it was made from.
  const may = (...what: string[]) =>
    bed.scene.plane.kubectl(['auth', 'can-i', ...what], kubeconfig).then(({ stdout }) => stdout.trim());
  expect(await may('delete', 'etcdsnapshotfiles')).toBe('yes');
  expect(await may('delete', 'secrets', '-n=kube-system')).toBe('no');
});

it('after the operators are gone, --uninstall lets records and their definition be deleted, and all data stay', async () => {
  const { cluster } = bed.scene;
  const operator = await bed.scene.operator({ node: 'node-1', s3: bed.s3.settings(BUCKET, 'prod') });
  await putObject(bed.s3, BUCKET, KEY, { cluster: bed.scene.clusterId, node: 'node-1' });
  await copyIn(operator, ON_DISK);
  await operator.ready();
  const finalizer = recordKeys('k3s').finalizer;
  const isBound = ({ metadata }: { readonly metadata: { readonly finalizers?: readonly string[] } }) =>
    metadata.finalizers?.includes(finalizer) === true;
  const local = await bed.scene.recordOf(ON_DISK, isBound);
  const remote = await bed.scene.recordOf('by-hand-node-1-1730308817', isBound);
  // As an operator of a cluster without k3s would have left one.
  await cluster.put({
    apiVersion: 'k3s.cattle.io/v1',
    kind: 'ETCDSnapshotFile',
    metadata: { name: 'from-elsewhere', finalizers: [SEED_FINALIZER, 'example.com/not-ours'] },
    spec: { snapshotName: 'elsewhere', nodeName: 'node-9', location: 'file:///elsewhere' },
  });
  const kubeconfig = await grantRights(bed.scene.plane);
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
  const looks = await bed.s3.client().send(new HeadObjectCommand({ Bucket: BUCKET, Key: KEY }));
  expect(looks.ContentLength).toBeGreaterThan(0);

  // With no definition left there is nothing to do, and that is no failure.
  expect((await uninstall()).code).toBe(0);
});
