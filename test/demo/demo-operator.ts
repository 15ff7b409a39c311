import { type ChildProcess, spawn } from 'node:child_process';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import { etcdFlags } from '../support/command.ts';
import type { ControlPlane } from '../support/control-plane.ts';
import { grantRights } from '../support/operators.ts';
import { sleep } from '../support/processes.ts';
import type { S3Server } from '../support/s3-server.ts';
import { type S3User, usersOf } from '../support/s3-users.ts';
import { say, showKubectl } from './show.ts';

const SECRET = 'k3s-etcd-snapshot-s3-config';
const program = fileURLToPath(new URL('../../bin/etcd-snapshot', import.meta.url));

export interface OperatorDemo {
  readonly plane: ControlPlane;
  /** With a folder for users. */
  readonly s3: S3Server;
  readonly bucket: string;
  readonly folder: string;
  readonly node: string;
  readonly dataDir: string;
}

/** The operator at work: a scheduled snapshot, a deletion by kubectl that reaches disk and S3, keys rotated while it runs. */
export async function demoOperator(demo: OperatorDemo): Promise<void> {
  const { plane, s3, node } = demo;
  const kubeconfig = await grantRights(plane);
  const users = usersOf(s3);
  const oldKey = await users.create('key-of-last-year');
  await writeSecret(demo, oldKey);
  await plane.kubectl([
    'create',
    '-f',
    await manifest(demo, { apiVersion: 'v1', kind: 'Node', metadata: { name: node } }),
  ]);

  const args = [
    'operator',
    // No k3s runs here, whose own deletions would have to be told from those by kubectl.
    '--distribution=kubeadm',
    `--dir=${join(demo.dataDir, 'server/db/snapshots')}`,
    `--node-name=${node}`,
    `--kubeconfig=${kubeconfig}`,
    '--snapshot-schedule-cron=@every 10s',
    '--snapshot-retention=2',
    '--s3',
    `--s3-config-secret=${SECRET}`,
    ...etcdFlags(plane.etcd.settings()),
  ];
  say(`etcd-snapshot ${args.join(' ')}`);
  const operator = spawn(program, args, { stdio: ['ignore', 'inherit', 'pipe'] });
  tellLog(operator);
  const ended = new Promise((resolve) => operator.once('close', resolve));
  try {
    await waitFor('scheduled snapshots on disk and S3', async () => (await records(demo)).length >= 2);
    await showKubectl(plane, ['get', 'etcdsnapshotfile']);

    const [local, remote] = await Promise.all(['local-', 's3-'].map((store) => firstOf(demo, store)));
    for (const record of [local, remote])
      await showKubectl(plane, ['delete', 'etcdsnapshotfile', record?.record ?? '']);
    say('Neither the file nor the object is there any more:');
    const files = await readdir(join(demo.dataDir, 'server/db/snapshots'));
    const keys = await objects(demo);
    for (const [what, name, all] of [
      ['file', local?.snapshot ?? '', files],
      ['object', remote?.snapshot ?? '', keys],
    ] as const) {
      const isThere = all.some((one) => one.endsWith(name));
      process.stdout.write(`${what} ${name}: ${isThere ? 'STILL THERE' : 'gone'}\n`);
      if (isThere) throw new Error(`the ${what} outlived its record`);
    }

    say('Rotating the S3 keys in the Secret while the operator runs; the old ones stop working');
    const newKey = await users.create('key-of-this-year');
    await writeSecret(demo, newKey);
    await users.remove(oldKey);
    const before = new Set(await objects(demo));
    await waitFor('a snapshot on S3, uploaded with the new keys', async () =>
      (await objects(demo)).some((key) => key.includes('/etcd-snapshot-') && !before.has(key)),
    );
    await showKubectl(plane, ['get', 'etcdsnapshotfile']);
  } finally {
    operator.kill('SIGTERM');
    await ended;
  }
}

/** One line per log line, as far as a reader of the demo needs it. */
function tellLog(operator: ChildProcess): void {
  if (operator.stderr === null) return;
  createInterface({ input: operator.stderr }).on('line', (line) => {
    const { msg, location, part, reason, at, leading } = JSON.parse(line) as Record<
      string,
      string | boolean | undefined
    >;
    const facts = [part, location, reason, at, leading].filter((fact) => fact !== undefined).join(' ');
    process.stdout.write(`  operator: ${msg ?? ''} ${facts}\n`);
  });
}

async function waitFor(what: string, isSo: () => Promise<boolean>): Promise<void> {
  say(`Waiting for ${what}`);
  while (!(await isSo())) await sleep(200);
}

interface Shown {
  readonly record: string;
  readonly snapshot: string;
}

/** Of the schedule; those that were saved by hand are left alone. */
async function records({ plane }: OperatorDemo): Promise<readonly Shown[]> {
  const columns = '-o=custom-columns=NAME:.metadata.name,SNAPSHOT:.spec.snapshotName';
  const { stdout } = await plane.kubectl(['get', 'etcdsnapshotfile', '--no-headers', columns]);
  return stdout
    .trim()
    .split('\n')
    .map((line) => line.split(/\s+/))
    .map(([record = '', snapshot = '']) => ({ record, snapshot }))
    .filter(({ snapshot }) => snapshot.startsWith('etcd-snapshot-'));
}

async function firstOf(demo: OperatorDemo, store: string): Promise<Shown | undefined> {
  return (await records(demo)).find(({ record }) => record.startsWith(store));
}

async function objects({ s3, bucket, folder }: OperatorDemo): Promise<string[]> {
  const page = await s3.client().send(new ListObjectsV2Command({ Bucket: bucket, Prefix: `${folder}/` }));
  return (page.Contents ?? []).flatMap(({ Key }) => (Key === undefined ? [] : [Key]));
}

async function writeSecret(demo: OperatorDemo, user: S3User): Promise<void> {
  const secret = {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: SECRET, namespace: 'kube-system' },
    type: 'etcd.k3s.cattle.io/s3-config-secret',
    stringData: {
      'etcd-s3-endpoint': demo.s3.endpoint,
      'etcd-s3-insecure': 'true',
      'etcd-s3-bucket': demo.bucket,
      'etcd-s3-folder': demo.folder,
      'etcd-s3-access-key': user.accessKey,
      'etcd-s3-secret-key': user.secretKey,
    },
  };
  const { code, stderr } = await demo.plane.kubectl(['apply', '-f', await manifest(demo, secret)]);
  if (code !== 0) throw new Error(stderr);
}

async function manifest(
  { dataDir }: OperatorDemo,
  object: Readonly<Record<string, unknown>> & { readonly kind: string },
): Promise<string> {
  const file = join(dataDir, `${object.kind}.json`);
  await writeFile(file, JSON.stringify(object), { mode: 0o600 });
  return file;
}
