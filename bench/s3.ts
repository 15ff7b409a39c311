import { randomFillSync } from 'node:crypto';
import { mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import type { Recall } from '../src/snapshot/ports.ts';
import { createS3Store } from '../src/stores/s3-store.ts';
import { startFaultFront } from '../test/support/fault-front.ts';
import { manyObjects } from '../test/support/many-objects.ts';
import { type S3Kind, type S3Server, s3Kinds, startS3 } from '../test/support/s3-server.ts';
import { scratchDir } from '../test/support/scratch.ts';
import { toolPath } from '../test/tools/toolbox.ts';
import { machine, measure, median, type Run, type Step } from './measure.ts';
import { startSlowLine } from './slow-line.ts';

/** `node bench/s3.ts [ROUNDS] [MB] [KIND]` for a shorter look; what is committed says which it was. */
const ROUNDS = Number(process.argv[2] ?? 5);
const SIZE = Number(process.argv[3] ?? 2000) * 1e6;
const KINDS: readonly S3Kind[] = s3Kinds.filter((kind) => kind === (process.argv[4] ?? kind));
const BUCKET = 'bench';
const LINE = { latencyMs: 20, bytesPerSecond: 200e6 / 8 };
const LINE_BYTES = 200e6;
const OBJECTS = 10_000;
const results = new URL('./results/', import.meta.url);

type Contender = 'ours' | 'rclone' | 'sdk';
const contenders: readonly Contender[] = ['ours', 'rclone', 'sdk'];

/** What all sides work on. */
interface Bed {
  readonly s3: S3Server;
  /** The bundle of `upload.ts`. */
  readonly program: string;
  readonly file: string;
}

async function bench(): Promise<void> {
  await using scratch = await scratchDir('bench-');
  const program = join(scratch.path, 'upload.mjs');
  await bundle(program);
  const [file, small] = [join(scratch.path, 'file'), join(scratch.path, 'small')];
  await fill(file, SIZE);
  await fill(small, LINE_BYTES);
  const lines = ['# Uploads to S3, side by side', '', `Machine: ${await machine()}.`, ''];
  lines.push(
    `Whole processes over TLS, parts of 8 MiB, two at a time; ${ROUNDS} alternating rounds after one warm-up, medians.`,
    'MB are 10^6 bytes. A ratio below 1 means that we are faster; it is the median of the ratios of each round.',
    '"SDK" is `Upload` of `@aws-sdk/lib-storage` as it comes, bundled like ours. Client and server share the cores.',
    '',
  );
  for (const kind of KINDS) {
    await using s3 = await startS3({ kind, tls: true });
    await s3.createBucket(BUCKET);
    const bed = { s3, program, file };
    lines.push(`## ${kind}`, '');
    const title = `${SIZE / 1e6} MB over loopback`;
    lines.push(...table(title, await race(s3.endpoint, bed), 'time and CPU ≤ 1.00, memory ≤ 150 MB'));
    await using line = await startSlowLine(s3.endpoint, LINE);
    const slow = await race(line.endpoint, { ...bed, file: small });
    const share = LINE_BYTES / LINE.bytesPerSecond / seconds(slow.ours);
    lines.push(...table(`${LINE_BYTES / 1e6} MB at 200 Mbit/s and 20 ms`, slow, '≥ 90 % of the line'));
    lines.push(`We use ${Math.round(share * 100)} % of that line.`, '');
    lines.push(await listing(kind), '');
  }
  await mkdir(results, { recursive: true });
  await writeFile(new URL('s3.md', results), `${lines.join('\n')}\n`);
  process.stdout.write(`\n${lines.join('\n')}\n`);
}

/** As the command line is bundled, so that nobody pays for finding and stripping sources. */
async function bundle(outfile: string): Promise<void> {
  const entry = fileURLToPath(new URL('upload.ts', import.meta.url));
  const require = "import { createRequire as $r } from 'node:module'; const require = $r(import.meta.url);";
  const options = { bundle: true, format: 'esm', platform: 'node', target: 'node24' } as const;
  await build({ ...options, entryPoints: [entry], outfile, banner: { js: require }, logLevel: 'warning' });
}

async function fill(path: string, size: number): Promise<void> {
  await using file = await open(path, 'w');
  const block = Buffer.alloc(1e6);
  for (let written = 0; written < size; written += block.length) await file.write(randomFillSync(block));
}

/** All sides run in turn, so that a drift of the machine hits all. */
async function race(endpoint: string, bed: Bed): Promise<Record<Contender, Run[]>> {
  const runs: Record<Contender, Run[]> = { ours: [], rclone: [], sdk: [] };
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const who of contenders) {
      const run = await measure([await stepOf(who, endpoint, bed)]);
      if (round > 0) runs[who].push(run);
    }
  }
  return runs;
}

async function stepOf(who: Contender, endpoint: string, { s3, program, file }: Bed): Promise<Step> {
  const { accessKey, secretKey, caFile = '' } = s3;
  const env = { AWS_ACCESS_KEY_ID: accessKey, AWS_SECRET_ACCESS_KEY: secretKey };
  if (who !== 'rclone') {
    const args = [...(await nodeFlags()), program, who, endpoint, caFile, BUCKET, file];
    return { command: process.execPath, args, env };
  }
  const remote = `:s3,provider=Other,env_auth=true,endpoint='https://${endpoint}',force_path_style=true,no_check_bucket=true`;
  // It would leave a file alone that is there already.
  const alike = ['--ignore-times', '--s3-chunk-size=8Mi', '--s3-upload-concurrency=2', `--ca-cert=${caFile}`];
  const args = ['--config=/dev/null', ...alike, 'copyto', file, `${remote}:${BUCKET}/rclone/file`];
  return { command: await toolPath('rclone'), args, env };
}

/** As bin/etcd-snapshot starts it. */
async function nodeFlags(): Promise<string[]> {
  const script = await readFile(new URL('../bin/etcd-snapshot', import.meta.url), 'utf8');
  return /--max-semi-space-size=\d+/.exec(script)?.slice(0, 1) ?? [];
}

function seconds(runs: readonly Run[]): number {
  return median(runs.map((run) => run.seconds));
}

function table(title: string, runs: Record<Contender, Run[]>, goal: string): string[] {
  const ratio = (peers: readonly Run[], of: (run: Run) => number) =>
    median(
      runs.ours.map((run, at) => of(run) / (peers[at] === undefined ? Number.NaN : of(peers[at]))),
    ).toFixed(2);
  const row = (who: Contender) => {
    const mine = runs[who];
    const versus =
      who === 'ours' ? ['', ''] : [ratio(mine, (run) => run.seconds), ratio(mine, (run) => run.cpuSeconds)];
    const cells = [
      who,
      `${seconds(mine).toFixed(2)} s`,
      `${median(mine.map((run) => run.cpuSeconds)).toFixed(2)} s`,
      `${Math.round(median(mine.map((run) => run.peakMegabytes)))} MB`,
      ...versus,
    ];
    return `| ${cells.join(' | ')} |`;
  };
  const head = [
    '| | time | CPU | peak memory | our time / theirs | our CPU / theirs |',
    '|---|---|---|---|---|---|',
  ];
  const lines = [`### ${title} (goal: ${goal})`, '', ...head, ...contenders.map(row), ''];
  process.stdout.write(`${lines.join('\n')}\n`);
  return lines;
}

async function listing(kind: S3Kind): Promise<string> {
  await using s3 = await startS3({ kind });
  await s3.createBucket(BUCKET);
  const names = Array.from({ length: OBJECTS }, (_, number) => `on-demand-bench-${1_730_300_000 + number}`);
  await manyObjects(s3, BUCKET, names);
  await using front = await startFaultFront(s3.url);
  using store = createS3Store(
    { ...s3.settings(BUCKET), endpoint: front.endpoint },
    { program: 'k3s', nodeName: 'bench' },
  );
  const createdAt = new Date(0);
  const known: Recall = ({ name, size }) => {
    const location = { store: 'local', path: name } as const;
    return { name, size, nodeName: 'bench', createdAt, compressed: false, location };
  };
  const began = performance.now();
  const found = await store.list(new AbortController().signal, known);
  const took = (performance.now() - began) / 1000;
  return `Listing ${found.length} known objects: ${front.requests.length} requests, ${took.toFixed(2)} s.`;
}

await bench();
