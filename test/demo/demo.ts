import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startControlPlane } from '../support/control-plane.ts';
import { startS3 } from '../support/s3-server.ts';
import { scratchDir } from '../support/scratch.ts';
import { demoOperator } from './demo-operator.ts';
import { say, showKubectl } from './show.ts';

/** The main job on real parts: etcd, kube-apiserver and an S3 server on loopback, all ended when this ends. */
async function demo(): Promise<void> {
  say(
    'Starting etcd (TLS, client certificates), kube-apiserver (RBAC) and an S3 server (versitygw) on loopback',
  );
  await using scratch = await scratchDir('demo-');
  const iam = join(scratch.path, 'users');
  await mkdir(iam);
  await using s3 = await startS3({ kind: 'versitygw', env: { VGW_IAM_DIR: iam } });
  await s3.createBucket('etcd');
  await using plane = await startControlPlane();
  await plane.kubectl(['create', 'configmap', 'made-by-the-demo', '--from-literal=hello=world']);

  const node = 'k3s-server-1';
  const snapshots = join(scratch.path, 'server/db/snapshots');
  await mkdir(snapshots, { recursive: true, mode: 0o700 });
  await writeFile(join(scratch.path, 'server/token'), 'a-demo-token\n', { mode: 0o600 });
  const etcd = plane.etcd.settings();
  const settings = s3.settings('etcd', 'k3s-test');
  const store = [
    '--s3',
    '--s3-insecure',
    `--s3-endpoint=${settings.endpoint}`,
    `--s3-bucket=${settings.bucket}`,
    `--s3-folder=${settings.folder}`,
  ];
  const common = ['--distribution=k3s', `--data-dir=${scratch.path}`, `--node-name=${node}`];
  const env = { AWS_ACCESS_KEY_ID: s3.accessKey, AWS_SECRET_ACCESS_KEY: s3.secretKey };

  await show(
    [
      'save',
      ...common,
      ...store,
      `--etcd-servers=${etcd.endpoints[0] ?? ''}`,
      `--etcd-cafile=${etcd.caFile ?? ''}`,
      `--etcd-certfile=${etcd.certFile ?? ''}`,
      `--etcd-keyfile=${etcd.keyFile ?? ''}`,
      `--kubeconfig=${plane.kubeconfig}`,
    ],
    env,
  );
  await show(['ls', ...common, ...store], env);

  await showKubectl(plane, ['get', 'etcdsnapshotfile']);
  const { stdout } = await plane.kubectl(['get', 'etcdsnapshotfile', '-o', 'name']);
  for (const name of stdout.trim().split('\n')) await showKubectl(plane, ['describe', name]);
  await demoOperator({ plane, s3, bucket: 'etcd', folder: 'k3s-test', node, dataDir: scratch.path });
  say('Done. Everything that was started has been stopped, and nothing was left behind.');
}

async function show(args: readonly string[], env: Record<string, string>): Promise<void> {
  const program = fileURLToPath(new URL('../../bin/etcd-snapshot', import.meta.url));
  say(`etcd-snapshot ${args.join(' ')}`);
  const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: 'inherit' });
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`etcd-snapshot ${args[0] ?? ''} ended with exit code ${String(code)}`);
}

await demo();
