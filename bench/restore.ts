import { mkdir, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { s3Env, s3Flags } from '../test/support/command.ts';
import { type EtcdCluster, startEtcd } from '../test/support/etcd-server.ts';
import { kubernetesLikeValues } from '../test/support/filling.ts';
import { startS3 } from '../test/support/s3-server.ts';
import { scratchDir } from '../test/support/scratch.ts';
import { snapshotOf } from '../test/support/snapshot-of.ts';
import { toolPath } from '../test/tools/toolbox.ts';
import { machine, measure, median, ownPeak, program, type Run, type Step, writeResults } from './measure.ts';

/** `node bench/restore.ts [ROUNDS] [MB]` for a shorter look. */
const ROUNDS = Number(process.argv[2] ?? 5);
const MEGABYTES = Number(process.argv[3] ?? 655);
/** Of a value; objects of Kubernetes are smaller still, and thousands of them take longer to fill in than to restore. */
const VALUE_BYTES = 16 * 1024;
const LANES = 32;

interface Bed {
  /** Empty before each run. */
  readonly dir: string;
  readonly snapshot: string;
  readonly etcdutl: string;
}

/** Each gives what is run in an empty folder. */
interface Contest {
  readonly title: string;
  readonly goal: string;
  /** What keeps it from being faster. */
  readonly limit: string;
  readonly ours: Step[];
  readonly theirs: Step[];
}

function etcdutl({ dir, etcdutl: command }: Bed, snapshot: string): Step {
  return { command, args: ['snapshot', 'restore', snapshot, '--data-dir', join(dir, 'peer')] };
}

function ours({ dir, etcdutl: tool }: Bed, ...args: string[]): Step {
  const flags = ['--distribution=custom', `--etcd-tools=${dirname(tool)}`, `--dir=${dir}`];
  return { command: program, args: [...args, ...flags] };
}

async function round(bed: Bed, steps: Step[]): Promise<Run> {
  await mkdir(bed.dir);
  try {
    return await measure(steps);
  } finally {
    await rm(bed.dir, { recursive: true });
  }
}

/** Peak memory of our own process. */
async function alone({ dir }: Bed, [step]: Step[]): Promise<number> {
  if (step === undefined) throw new Error('nothing is measured');
  await mkdir(dir);
  try {
    return await ownPeak(step);
  } finally {
    await rm(dir, { recursive: true });
  }
}

async function fillWithObjects(etcd: EtcdCluster, bytes: number): Promise<void> {
  const next = kubernetesLikeValues(VALUE_BYTES);
  const count = Math.ceil(bytes / VALUE_BYTES);
  function* lane(first: number): Generator<readonly [string, Buffer]> {
    for (let at = first; at < count; at += LANES) yield [`/registry/pods/team-${at % 17}/web-${at}`, next()];
  }
  await Promise.all(Array.from({ length: LANES }, (_, first) => etcd.put(lane(first))));
}

/** In turn, so that a drift of the machine hits both; the first round only warms up. */
async function contend(bed: Bed, { title, goal, limit, ours: mine, theirs }: Contest): Promise<string> {
  const pairs: { readonly own: Run; readonly peer: Run }[] = [];
  for (let at = 0; at <= ROUNDS; at += 1) {
    const pair = { own: await round(bed, mine), peer: await round(bed, theirs) };
    if (at > 0) pairs.push(pair);
  }
  const of = (figure: (pair: (typeof pairs)[number]) => number, digits: number) =>
    median(pairs.map(figure)).toFixed(digits);
  const ratio = of(({ own, peer }) => own.seconds / peer.seconds, 2);
  const times = `${of(({ own }) => own.seconds, 2)} s | ${of(({ peer }) => peer.seconds, 2)} s`;
  const cpu = `${of(({ own }) => own.cpuSeconds, 2)} s | ${of(({ peer }) => peer.cpuSeconds, 2)} s`;
  const peak = (await alone(bed, mine)).toFixed(0);
  const row = `| ${title} | ${times} | **${ratio}** | ${cpu} | ${peak} MB | ${goal} | ${limit} |`;
  process.stdout.write(`${row}\n`);
  return row;
}

await using scratch = await scratchDir('bench-');
await using s3 = await startS3({ kind: 'versitygw' });
await s3.createBucket('bench');
const settings = s3.settings('bench', 'ours');
const snapshot = await (async () => {
  await using etcd = await startEtcd({ quotaBytes: 6 * 1024 ** 3 });
  await fillWithObjects(etcd, MEGABYTES * 1e6);
  // Awaited here: etcd ends with this block.
  return await snapshotOf(etcd, scratch.path, 'bench');
})();
const bed: Bed = { dir: join(scratch.path, 'run'), snapshot, etcdutl: await toolPath('etcdutl') };
const remote =
  `:s3,provider=Other,access_key_id=${s3.accessKey},secret_access_key=${s3.secretKey},` +
  `endpoint='${s3.url}',force_path_style=true,no_check_bucket=true:bench/ours/snapshot-1`;
const rclone = await toolPath('rclone');
const copy = (from: string, to: string): Step => ({
  command: rclone,
  args: ['--config=/dev/null', 'copyto', from, to],
});
await measure([copy(snapshot, remote)]);
const into = ['restore', '--yes', '--bump-revision=0', `--data-dir=${join(bed.dir, 'etcd')}`];
const fetched = join(bed.dir, 'fetched');

const lines = [
  '# Restoring: side by side with etcdutl and rclone',
  '',
  `Machine: ${await machine()}.`,
  '',
  `Whole processes, ${ROUNDS} alternating rounds after one warm-up, medians; all on one disk. A snapshot of ${Math.round((await stat(snapshot)).size / 1e6)} MB, in values of ${VALUE_BYTES / 1024} KiB.`,
  'MB are 10^6 bytes. A ratio below 1 means that we are faster; it is the median of the ratios of each round. CPU time is that of all processes that were started, etcdutl and etcd included;',
  'memory is that of our own process, in a run of its own: etcdutl maps the whole database.',
  '',
  'Ours also proves the hash a second time, reads what is in the database, compares what came out, writes everything out to the disk, and puts it in place. The S3 server shares the two cores.',
  '',
  '| what | ours | peer | ratio | our CPU | CPU of the peer | our memory | goal | limited by |',
  '|---|---|---|---|---|---|---|---|---|',
];
const contests: Contest[] = [
  {
    title: 'restore from disk, vs `etcdutl snapshot restore`',
    goal: '≤ 1.10, memory ≤ 150 MB',
    limit: 'what cannot run beside etcdutl: the look before, reading what came out',
    ours: [ours(bed, ...into, snapshot)],
    theirs: [etcdutl(bed, snapshot)],
  },
  {
    title: 'restore from S3, vs `rclone copyto` then `etcdutl snapshot restore`',
    goal: '≤ 0.80, memory ≤ 150 MB',
    limit: 'CPU time of the download, one thread of Node',
    ours: [{ ...ours(bed, ...into, 'snapshot-1', ...s3Flags(settings)), env: s3Env(settings) }],
    theirs: [copy(remote, fetched), etcdutl(bed, fetched)],
  },
  {
    title: '`verify`, vs `etcdutl snapshot restore`',
    goal: '≤ 1.30, memory ≤ 150 MB',
    limit: 'etcdutl, then the start of etcd and HashKV',
    ours: [ours(bed, 'verify', `--temp-dir=${bed.dir}`, snapshot)],
    theirs: [etcdutl(bed, snapshot)],
  },
];
for (const contest of contests) lines.push(await contend(bed, contest));
await writeResults('restore.md', lines);
