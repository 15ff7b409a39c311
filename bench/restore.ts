import { mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { s3Env, s3Flags } from '../test/support/command.ts';
import { startEtcd } from '../test/support/etcd-server.ts';
import { startS3 } from '../test/support/s3-server.ts';
import { scratchDir } from '../test/support/scratch.ts';
import { snapshotOf } from '../test/support/snapshot-of.ts';
import { toolPath } from '../test/tools/toolbox.ts';
import { machine, measure, median, type Run, type Step } from './measure.ts';

/** `node bench/restore.ts [ROUNDS] [MB]` for a shorter look. */
const ROUNDS = Number(process.argv[2] ?? 5);
const MEGABYTES = Number(process.argv[3] ?? 655);
const program = fileURLToPath(new URL('../bin/etcd-snapshot', import.meta.url));
const results = new URL('./results/', import.meta.url);

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

/** In turn, so that a drift of the machine hits both; the first round only warms up. */
async function contend(bed: Bed, { title, goal, ours: mine, theirs }: Contest): Promise<string> {
  const pairs: { readonly own: Run; readonly peer: Run }[] = [];
  for (let at = 0; at <= ROUNDS; at += 1) {
    const pair = { own: await round(bed, mine), peer: await round(bed, theirs) };
    if (at > 0) pairs.push(pair);
  }
  const of = (figure: (pair: (typeof pairs)[number]) => number, digits: number) =>
    median(pairs.map(figure)).toFixed(digits);
  const ratio = of(({ own, peer }) => own.seconds / peer.seconds, 2);
  const times = `${of(({ own }) => own.seconds, 2)} s | ${of(({ peer }) => peer.seconds, 2)} s`;
  const row = `| ${title} | ${times} | **${ratio}** | ${of(({ own }) => own.peakMegabytes, 0)} MB | ${goal} |`;
  process.stdout.write(`${row}\n`);
  return row;
}

await using scratch = await scratchDir('bench-');
await using s3 = await startS3({ kind: 'versitygw' });
await s3.createBucket('bench');
const settings = s3.settings('bench', 'ours');
const snapshot = await (async () => {
  await using etcd = await startEtcd({ quotaBytes: 6 * 1024 ** 3 });
  await etcd.fill(MEGABYTES * 1e6);
  return snapshotOf(etcd, scratch.path, 'bench');
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
  `Whole processes, ${ROUNDS} alternating rounds after one warm-up, medians; same disk. A snapshot of ${Math.round((await stat(snapshot)).size / 1e6)} MB.`,
  'Ours also proves the hash, reads what is in the database, and compares what came out; the memory is that of the largest process.',
  '',
  '| what | ours | peer | ratio | peak memory of a process | goal |',
  '|---|---|---|---|---|---|',
];
const contests: Contest[] = [
  {
    title: 'restore from disk, vs `etcdutl snapshot restore`',
    goal: '≤ 1.10',
    ours: [ours(bed, ...into, snapshot)],
    theirs: [etcdutl(bed, snapshot)],
  },
  {
    title: 'restore from S3, vs `rclone copyto` then `etcdutl snapshot restore`',
    goal: '≤ 0.80',
    ours: [{ ...ours(bed, ...into, 'snapshot-1', ...s3Flags(settings)), env: s3Env(settings) }],
    theirs: [copy(remote, fetched), etcdutl(bed, fetched)],
  },
  {
    title: '`verify`, vs `etcdutl snapshot restore`',
    goal: '≤ 1.30',
    ours: [ours(bed, 'verify', `--temp-dir=${bed.dir}`, snapshot)],
    theirs: [etcdutl(bed, snapshot)],
  },
];
for (const contest of contests) lines.push(await contend(bed, contest));
await mkdir(results, { recursive: true });
await writeFile(new URL('restore.md', results), `${lines.join('\n')}\n`);
