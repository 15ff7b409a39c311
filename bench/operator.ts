import { spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { HeadObjectCommand } from '@aws-sdk/client-s3';
import pMap from 'p-map';
import type { ETCDSnapshotFile } from '../src/crds/etcd-snapshot-file.ts';
import { connect, type KubeClient } from '../src/kube/client.ts';
import { createSnapshotFilesApi } from '../src/kube/snapshot-files-api.ts';
import { etcdFlags, s3Env, s3Flags } from '../test/support/command.ts';
import { type ControlPlane, startControlPlane } from '../test/support/control-plane.ts';
import { type FaultFront, startFaultFront } from '../test/support/fault-front.ts';
import { putObject } from '../test/support/operator-scene.ts';
import { grantRights } from '../test/support/operators.ts';
import { freePorts, sleep } from '../test/support/processes.ts';
import { type S3Server, startS3 } from '../test/support/s3-server.ts';
import { usersOf } from '../test/support/s3-users.ts';
import { scratchDir } from '../test/support/scratch.ts';
import { snapshotBytes } from '../test/support/store-contract.ts';
import { machine } from './measure.ts';
import { editSeconds, SECRET, writeSecret } from './secret-edits.ts';

/** `node bench/operator.ts [OBJECTS] [FILES]` for a shorter look. */
const OBJECTS = Number(process.argv[2] ?? 10_000);
const FILES = Number(process.argv[3] ?? 1_000);
const DELETIONS = 100;
const EDITS = 50;
const IDLE_SECONDS = 60;
const NODE = 'bench';
const never = new AbortController().signal;
const KUBE_SYSTEM = { method: 'GET', path: '/api/v1/namespaces/kube-system', signal: never } as const;
const program = fileURLToPath(new URL('../bin/etcd-snapshot', import.meta.url));
const results = new URL('./results/', import.meta.url);

interface Bed {
  readonly plane: ControlPlane;
  readonly s3: S3Server;
  /** Counts what the operator asks S3 for. */
  readonly front: FaultFront;
  readonly client: KubeClient;
  readonly kubeconfig: string;
  readonly dataDir: string;
}

interface Operator extends AsyncDisposable {
  readonly pid: number;
}

async function bench(): Promise<void> {
  await using scratch = await scratchDir('bench-operator-');
  await using plane = await startControlPlane();
  const iam = join(scratch.path, 'iam');
  await mkdir(iam);
  await using s3 = await startS3({ kind: 'versitygw', env: { VGW_IAM_DIR: iam } });
  await using front = await startFaultFront(s3.url);
  await using client = await connect(plane.kubeconfig);
  await s3.createBucket('bench');
  const dir = join(scratch.path, 'server/db/snapshots');
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const kubeconfig = await grantRights(plane);
  const bed = { plane, s3, front, client, kubeconfig, dataDir: scratch.path };
  const bytes = snapshotBytes(2);
  const name = (at: number) => `etcd-snapshot-${NODE}-${1_700_000_000 + at}`;
  const files = Array.from({ length: FILES }, (_, at) => join(dir, name(at)));
  await pMap(files, (file) => writeFile(file, bytes, { mode: 0o600 }), { concurrency: 32 });
  const rows: string[][] = [];
  const row = (what: string, figure: string, goal: string) => {
    rows.push([what, figure, goal]);
    process.stdout.write(`${what}: ${figure} (${goal})\n`);
  };

  {
    await using operator = await start(bed, []);
    await untilRecords(bed, FILES);
    // The Events of all those records are still being written for a while.
    await untilQuiet(bed);
    const before = await cpuSeconds(operator.pid);
    await sleep(IDLE_SECONDS * 1000);
    const milli = ((await cpuSeconds(operator.pid)) - before) / (IDLE_SECONDS / 1000);
    row(`CPU idle with ${FILES} records, over ${IDLE_SECONDS} s`, `${milli.toFixed(1)} milli-CPU`, '≤ 5');
    row(`memory with ${FILES} records`, `${await residentMegabytes(operator.pid)} MB`, '≤ 110 MB');
  }

  const keys = Array.from({ length: OBJECTS }, (_, at) => `prod/${name(at)}`);
  // As our own uploads say it.
  const cluster = (await client.request<{ metadata: { uid: string } }>(KUBE_SYSTEM)).metadata.uid;
  await pMap(keys, (key) => putObject(s3, 'bench', key, { cluster, node: NODE }), { concurrency: 16 });
  await forgetRecords(bed);

  const settings = { ...s3.settings('bench', 'prod'), endpoint: front.endpoint };
  {
    const began = performance.now();
    const flags = [...s3Flags(settings), '--s3-retention=0', '--snapshot-reconcile-interval=10s'];
    await using operator = await start(bed, flags, s3Env(settings));
    await untilRecords(bed, FILES + OBJECTS);
    const seconds = (performance.now() - began) / 1000;
    row(`all ${FILES + OBJECTS} records from an empty cluster`, `${seconds.toFixed(1)} s`, '≤ 60 s');

    await untilQuiet(bed);
    const writesBefore = await writes(bed);
    const asked = front.requests.length;
    await sleep(25_000);
    const resync = front.requests.slice(asked);
    const perResync = resync.length / Math.max(1, resync.filter(({ path }) => isFirstPage(path)).length);
    row('S3 requests of a resync with nothing changed', perResync.toFixed(0), '≤ 11');
    row('writes to the API server meanwhile', String((await writes(bed)) - writesBefore), '0');
    row(`memory with ${FILES + OBJECTS} records`, `${await residentMegabytes(operator.pid)} MB`, '≤ 200 MB');

    const times: number[] = [];
    const onS3 = await recordsOnS3(bed);
    for (let at = 0; at < DELETIONS; at += 1)
      times.push(await deletionSeconds(bed, onS3.get(name(OBJECTS - 1 - at))));
    row(`kubectl delete → object gone, p99 of ${DELETIONS}`, `${p99(times).toFixed(2)} s`, '≤ 1 s');
  }

  {
    const users = [await usersOf(s3).create('AKIABENCHA'), await usersOf(s3).create('AKIABENCHB')];
    await writeSecret(bed, users[0]);
    await using _ = await start(bed, ['--s3', `--s3-config-secret=${SECRET}`]);
    await untilQuiet(bed);
    const times: number[] = [];
    for (let at = 1; at <= EDITS; at += 1) {
      // Now in the middle of the look that the last edit has asked for, now after it.
      await sleep((at % 5) * 500);
      times.push(await editSeconds(bed, users[at % 2]));
    }
    const what = `Secret edited → next request signed with the new key, p99 of ${EDITS}`;
    row(what, `${p99(times).toFixed(2)} s`, '≤ 1 s');
  }

  const lines = [
    '# The operator: scale and cost',
    '',
    `Machine: ${await machine()}.`,
    '',
    `One operator (the bundle), kube-apiserver, etcd and versitygw on it. ${OBJECTS} objects on S3 and ${FILES} files.`,
    '',
    '| what | figure | goal |',
    '|---|---|---|',
    ...rows.map((cells) => `| ${cells.join(' | ')} |`),
  ];
  await mkdir(results, { recursive: true });
  await writeFile(new URL('operator.md', results), `${lines.join('\n')}\n`);
}

function p99(seconds: readonly number[]): number {
  return seconds.toSorted((a, b) => a - b)[Math.ceil(seconds.length * 0.99) - 1] ?? Number.NaN;
}

async function start(
  bed: Bed,
  flags: readonly string[],
  env: Record<string, string> = {},
): Promise<Operator> {
  const [port] = await freePorts(1);
  const etcd = bed.plane.etcd.settings();
  const args = [
    'operator',
    '--distribution=k3s',
    `--data-dir=${bed.dataDir}`,
    `--node-name=${NODE}`,
    `--kubeconfig=${bed.kubeconfig}`,
    `--listen-address=127.0.0.1:${port}`,
    '--snapshot-retention=0',
    '--disable-snapshots',
    ...etcdFlags(etcd),
    ...flags,
  ];
  const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: 'ignore' });
  let ending = false;
  const gone = new Promise<void>((resolve) => child.once('close', resolve));
  void gone.then(() => {
    if (!ending) throw new Error(`the operator has ended with ${child.exitCode}`);
  });
  return {
    pid: child.pid ?? -1,
    async [Symbol.asyncDispose]() {
      ending = true;
      child.kill('SIGTERM');
      await gone;
    },
  };
}

async function records(bed: Bed): Promise<number> {
  const path = '/apis/k3s.cattle.io/v1/etcdsnapshotfiles';
  const page = await bed.client.request<{ items: unknown[]; metadata: { remainingItemCount?: number } }>({
    method: 'GET',
    path,
    query: { limit: '1' },
    signal: never,
  });
  return page.items.length + (page.metadata.remainingItemCount ?? 0);
}

async function untilRecords(bed: Bed, count: number): Promise<void> {
  while ((await records(bed)) < count) await sleep(100);
}

/** An empty cluster again, with the data where they are. */
async function forgetRecords(bed: Bed): Promise<void> {
  const files = createSnapshotFilesApi(bed.client);
  for await (const { metadata } of files.list({}, never)) {
    await files.patch(metadata.name, [{ op: 'remove', path: '/metadata/finalizers' }], never);
    if (metadata.uid !== undefined) await files.delete(metadata.name, { uid: metadata.uid }, never);
  }
}

async function untilQuiet(bed: Bed): Promise<void> {
  for (let last = -1, now = await writes(bed); now !== last; now = await writes(bed)) {
    last = now;
    await sleep(12_000);
  }
}

/** Calls that changed something, as the API server counts them; renewals of Leases are no work of ours. */
async function writes(bed: Bed): Promise<number> {
  const { stdout } = await bed.plane.kubectl(['get', '--raw', '/metrics']);
  let sum = 0;
  for (const [, labels = '', value = '0'] of stdout.matchAll(/^apiserver_request_total\{(.*)\} (\S+)$/gm)) {
    const resource = /resource="([^"]*)"/.exec(labels)?.[1] ?? '';
    const changes = /verb="(POST|PUT|PATCH|APPLY|DELETE)"/.test(labels);
    if (changes && /^(etcdsnapshotfiles|events|nodes|secrets|configmaps)$/.test(resource))
      sum += Number(value);
  }
  return sum;
}

function isFirstPage(path: string): boolean {
  return path.includes('list-type=2') && !path.includes('continuation-token') && !path.includes('.metadata');
}

/** Of the copies on S3, by the snapshot's name. */
async function recordsOnS3(bed: Bed): Promise<ReadonlyMap<string, ETCDSnapshotFile>> {
  const files = createSnapshotFilesApi(bed.client);
  const labelSelector = 'etcd.k3s.cattle.io/snapshot-storage-node=s3';
  const found = new Map<string, ETCDSnapshotFile>();
  for await (const file of files.list({ labelSelector }, never)) found.set(file.spec.snapshotName, file);
  return found;
}

async function deletionSeconds(bed: Bed, file: ETCDSnapshotFile | undefined): Promise<number> {
  const { metadata, spec } = file ?? {};
  if (metadata?.uid === undefined || spec === undefined) throw new Error('a snapshot has no record');
  const began = performance.now();
  await createSnapshotFilesApi(bed.client).delete(metadata.name, { uid: metadata.uid }, never);
  while (await isThere(bed, spec.snapshotName)) await sleep(5);
  return (performance.now() - began) / 1000;
}

async function isThere(bed: Bed, snapshot: string): Promise<boolean> {
  const input = { Bucket: 'bench', Key: `prod/${snapshot}` };
  return bed.s3
    .client()
    .send(new HeadObjectCommand(input))
    .then(
      () => true,
      () => false,
    );
}

async function cpuSeconds(pid: number): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).replace(/^.*\) /, '').split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function residentMegabytes(pid: number): Promise<number> {
  const kibibytes = /VmRSS:\s*(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Math.round((Number(kibibytes) * 1024) / 1e6);
}

await bench();
