import { mkdir, open, readdir, rm, stat } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { DeleteObjectCommand, ListObjectsV2Command, type S3Client } from '@aws-sdk/client-s3';
import { etcdFlags, s3Env, s3Flags } from '../test/support/command.ts';
import { type EtcdCluster, startEtcd } from '../test/support/etcd-server.ts';
import { type S3Server, startS3 } from '../test/support/s3-server.ts';
import { scratchDir } from '../test/support/scratch.ts';
import { toolPath } from '../test/tools/toolbox.ts';
import {
  dropCaches,
  machine,
  measure,
  median,
  program,
  type Run,
  type Step,
  writeResults,
} from './measure.ts';

/** `node bench/bench.ts [ROUNDS] [MB,MB]` for a shorter look; what is committed says which it was. */
const ROUNDS = Number(process.argv[2] ?? 5);
const TARGETS = (process.argv[3] ?? '655,200,2000').split(',').map(Number);
const MEGABYTE = 1e6;
/** From this size in MB on a round takes a minute: fewer of them, and only what tells how time and memory grow. */
const LARGE = 1000;
const LARGE_ROUNDS = Math.min(3, ROUNDS);

interface Contest {
  readonly title: string;
  readonly goal: string;
  readonly limit: string;
  /** Whether the caches of the kernel are dropped before each run. */
  readonly cold?: boolean;
  readonly ours: () => Promise<BenchRun>;
  readonly theirs: () => Promise<BenchRun>;
}

/** A run and the zip that it left, in bytes; 0 when it made none. */
interface BenchRun extends Run {
  readonly zipBytes: number;
}

/** What both sides of every contest work on. */
interface Bed {
  readonly rounds: number;
  readonly etcd: EtcdCluster;
  readonly s3: S3Server;
  readonly dir: string;
}

async function bench(): Promise<void> {
  const began = performance.now();
  const lines = [`# Saving: side by side with etcd's own tools`, '', `Machine: ${await machine()}.`, ''];
  lines.push(
    `Whole processes, ${ROUNDS} alternating rounds (from ${LARGE} MB on ${LARGE_ROUNDS}) after one warm-up, medians. etcd 3.6 over TLS on loopback, same disk.`,
  );
  lines.push(
    'MB are 10^6 bytes. A ratio below 1 means that we are faster. Each run has a folder of its own.',
  );
  lines.push(
    (await dropCaches())
      ? 'Cold: right before each run the page cache is dropped (`sync; echo 3 > /proc/sys/vm/drop_caches`), so programs, libraries and folders come from the disk; the database stays, since etcd has it mapped.'
      : 'Cold could not be measured: dropping the page cache is not permitted here.',
    '',
  );
  for (const target of TARGETS) {
    await using scratch = await scratchDir('bench-');
    await using etcd = await startEtcd({ quotaBytes: 6 * 1024 ** 3 });
    await using s3 = await startS3({ kind: 'versitygw' });
    await s3.createBucket('bench');
    await etcd.fill(target * MEGABYTE);
    const isLarge = target >= LARGE;
    const bed = { etcd, s3, dir: scratch.path, rounds: isLarge ? LARGE_ROUNDS : ROUNDS };
    const size = await snapshotSize(bed);
    lines.push(`## A snapshot of ${Math.round(size / MEGABYTE)} MB`, '');
    lines.push(`Limits here: ${await limits(bed, size)}.`, '');
    lines.push('| what | ours | peer | ratio | our CPU | our peak memory | goal | limited by |');
    lines.push('|---|---|---|---|---|---|---|---|');
    const notes: string[] = [];
    for (const contest of await contests(bed, !isLarge)) {
      const { row, note } = await compete(contest, bed.rounds);
      lines.push(row);
      notes.push(...note);
    }
    lines.push('', ...notes);
  }
  const minutes = Math.round((performance.now() - began) / 60_000);
  lines.push(`All of it took ${minutes} minutes.`);
  await writeResults('save.md', lines);
  process.stdout.write(`\n${lines.join('\n')}\n`);
}

async function contests(bed: Bed, all: boolean): Promise<Contest[]> {
  const disk: Contest = {
    title: 'to disk, vs `etcdctl snapshot save`',
    goal: '≤ 0.80, memory ≤ 120 MB',
    limit: "etcd's sender and TLS",
    ours: () => inFolder(bed, (dir) => [ours(bed, dir)]),
    theirs: () => inFolder(bed, async (dir) => [await etcdctl(bed, join(dir, 'peer.db'))]),
  };
  const toS3: Contest = {
    title: 'to disk and S3, vs `etcdctl` then `rclone copyto`',
    goal: '≤ 0.65, memory ≤ 160 MB',
    limit: 'two cores shared with etcd and the S3 server',
    ours: () => inFolder(bed, (dir) => [ours(bed, dir, s3Flags(bed.s3.settings('bench', 'ours')))]),
    theirs: () =>
      inFolder(bed, async (dir) => [
        await etcdctl(bed, join(dir, 'peer.db')),
        await rclone(bed, join(dir, 'peer.db')),
      ]),
  };
  const zip: Contest = {
    title: 'to a zip, vs `etcdctl` then Go archive/zip',
    goal: '≤ 0.50',
    limit: 'deflate on two cores',
    ours: () => inFolder(bed, (dir) => [ours(bed, dir, ['--snapshot-compress'])]),
    theirs: () =>
      inFolder(bed, async (dir) => [
        await etcdctl(bed, join(dir, 'peer.db')),
        { command: await toolPath('gozip'), args: ['create', join(dir, 'peer.zip'), join(dir, 'peer.db')] },
      ]),
  };
  if (!all) return [disk, toS3];
  const fromCold: Contest = { ...disk, title: `${disk.title}, cold`, cold: true };
  return (await dropCaches()) ? [disk, fromCold, zip, toS3] : [disk, zip, toS3];
}

/** Both sides run in turn, so that a drift of the machine hits both. */
async function compete(contest: Contest, rounds: number): Promise<{ row: string; note: string[] }> {
  const mine: BenchRun[] = [];
  const peers: BenchRun[] = [];
  for (let round = 0; round <= rounds; round += 1) {
    if (contest.cold === true) await dropCaches();
    const own = await contest.ours();
    if (contest.cold === true) await dropCaches();
    const peer = await contest.theirs();
    if (round === 0) continue;
    mine.push(own);
    peers.push(peer);
  }
  const seconds = (runs: readonly Run[]) => median(runs.map((run) => run.seconds));
  const ratio = median(mine.map((run, at) => run.seconds / (peers[at]?.seconds ?? Number.NaN)));
  const cells = [
    contest.title,
    `${seconds(mine).toFixed(2)} s`,
    `${seconds(peers).toFixed(2)} s`,
    `**${ratio.toFixed(2)}**`,
    `${median(mine.map((run) => run.cpuSeconds)).toFixed(2)} s`,
    `${Math.round(median(mine.map((run) => run.peakMegabytes)))} MB`,
    contest.goal,
    contest.limit,
  ];
  const row = `| ${cells.join(' | ')} |`;
  process.stdout.write(`${row}\n`);
  return { row, note: zipNote(mine, peers) };
}

/** A zip made sooner is no gain when it is notably larger. */
function zipNote(mine: readonly BenchRun[], peers: readonly BenchRun[]): string[] {
  const size = (runs: readonly BenchRun[]) => median(runs.map((run) => run.zipBytes)) / MEGABYTE;
  const [own, peer] = [size(mine), size(peers)];
  if (own === 0) return [];
  const more = ((own / peer - 1) * 100).toFixed(1);
  return [
    `The zips: ours ${own.toFixed(1)} MB, Go's ${peer.toFixed(1)} MB; ours is larger by ${more} %.`,
    '',
  ];
}

async function inFolder(bed: Bed, steps: (dir: string) => Step[] | Promise<Step[]>): Promise<BenchRun> {
  const dir = join(bed.dir, 'run');
  await mkdir(dir, { mode: 0o700 });
  try {
    const run = await measure(await steps(dir));
    const zip = (await readdir(dir)).find((name) => name.endsWith('.zip'));
    return { ...run, zipBytes: zip === undefined ? 0 : (await stat(join(dir, zip))).size };
  } finally {
    await rm(dir, { recursive: true });
    await emptyBucket(bed.s3.client());
  }
}

/** So that neither side pays for replacing an object, and the disk does not fill up. */
async function emptyBucket(client: S3Client): Promise<void> {
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: 'bench' }));
  for (const { Key } of Contents) await client.send(new DeleteObjectCommand({ Bucket: 'bench', Key }));
}

function ours(bed: Bed, dir: string, more: readonly string[] = []): Step {
  const etcd = etcdFlags(bed.etcd.settings());
  const args = ['save', '--distribution=custom', '--node-name=bench', `--dir=${dir}`, ...etcd, ...more];
  return { command: program, args, env: s3Env(bed.s3.settings('bench')) };
}

async function etcdctl(bed: Bed, file: string): Promise<Step> {
  const etcd = bed.etcd.settings();
  return {
    command: await toolPath('etcdctl'),
    args: [
      'snapshot',
      'save',
      file,
      `--endpoints=${etcd.endpoints[0] ?? ''}`,
      `--cacert=${etcd.caFile ?? ''}`,
      `--cert=${etcd.certFile ?? ''}`,
      `--key=${etcd.keyFile ?? ''}`,
    ],
  };
}

async function rclone(bed: Bed, file: string): Promise<Step> {
  const remote =
    `:s3,provider=Other,access_key_id=${bed.s3.accessKey},secret_access_key=${bed.s3.secretKey},` +
    `endpoint='${bed.s3.url}',force_path_style=true,no_check_bucket=true:bench/theirs/peer.db`;
  return { command: await toolPath('rclone'), args: ['--config=/dev/null', 'copyto', file, remote] };
}

async function snapshotSize(bed: Bed): Promise<number> {
  const dir = join(bed.dir, 'size');
  await mkdir(dir);
  await measure([ours(bed, dir)]);
  const [name] = await readdir(dir);
  const { size } = await stat(join(dir, name ?? ''));
  await rm(dir, { recursive: true });
  return size;
}

/** What the disk and the loopback alone would take for as many bytes. */
async function limits(bed: Bed, size: number): Promise<string> {
  const block = Buffer.alloc(1024 * 1024, 'etcd');
  const diskBegan = performance.now();
  const file = await open(join(bed.dir, 'limit'), 'w');
  for (let written = 0; written < size; written += block.length) await file.write(block);
  await file.sync();
  await file.close();
  const disk = (performance.now() - diskBegan) / 1000;
  await rm(join(bed.dir, 'limit'));
  return `writing and syncing as many bytes ${disk.toFixed(2)} s, a raw socket ${(await rawSocket(size)).toFixed(2)} s`;
}

async function rawSocket(size: number): Promise<number> {
  const block = Buffer.alloc(1024 * 1024);
  const server = createServer((socket) => {
    let left = size;
    const send = () => {
      while (left > 0) {
        left -= block.length;
        if (!socket.write(block)) return;
      }
      socket.end();
    };
    socket.on('drain', send);
    send();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  const began = performance.now();
  const socket = connect(address.port, '127.0.0.1').resume();
  await new Promise<void>((resolve, reject) => socket.once('end', resolve).once('error', reject));
  server.close();
  return (performance.now() - began) / 1000;
}

await bench();
