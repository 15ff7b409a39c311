import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { S3Settings } from '../../src/config/types.ts';
import type { OperatorTuning } from '../../src/operator/tuning.ts';
import { etcdFlags, s3Env, s3Flags } from './command.ts';
import type { ControlPlane } from './control-plane.ts';
import type { OddClock } from './operator-main.ts';
import { freePorts, type Server, sleep, startServer } from './processes.ts';
import { programPath } from './programs.ts';
import { scratchDir } from './scratch.ts';

const main = programPath('operator-main');
const rbac = fileURLToPath(new URL('../../deploy/rbac.yaml', import.meta.url));

export interface OperatorPlan {
  readonly plane: ControlPlane;
  /** Of a ServiceAccount with the rights of `deploy/`, from `grantRights`. */
  readonly kubeconfig: string;
  readonly node: string;
  readonly s3?: S3Settings;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly tuning?: OperatorTuning;
  readonly clock?: OddClock;
  /** Of an earlier operator of the same node, to go on with its disk. */
  readonly dataDir?: string;
  /** Index of the etcd member; the first one unless given. */
  readonly member?: number;
  /** Address of etcd, in place of a member's. */
  readonly etcd?: string;
}

export interface RunningOperator extends AsyncDisposable {
  readonly node: string;
  /** The snapshot folder. */
  readonly dir: string;
  readonly dataDir: string;
  readonly pid: number;
  kill(signal: NodeJS.Signals): void;
  readonly exited: Promise<number | null>;
  /** SIGTERM; resolves with the exit code. */
  stop(): Promise<number | null>;
  get(path: string): Promise<{ readonly status: number; readonly text: string }>;
  /** Until `/readyz` says so. */
  ready(): Promise<void>;
  /** A part of `/readyz`, once it is as `ready` says; its reason is empty when there is none. */
  part(name: string, ready: boolean): Promise<string>;
  /** The sum of all series of that metric that have these labels. */
  metric(name: string, labels?: Readonly<Record<string, string>>): Promise<number>;
  /** Until so many more looks at the store have ended so; the first may have begun before. */
  looks(store: 'local' | 's3', count: number, status?: 'success' | 'error'): Promise<void>;
  /** Until it has not looked at its folder for half a second: nothing that came before makes it look any more. */
  quiet(): Promise<void>;
  log(): Promise<string>;
}

/** Times that a test can wait for; everything else is as in the product. */
const quick: OperatorTuning = {
  jitterMs: 0,
  youngMs: 1_000,
  guardMs: 300,
  apartMs: 1_000,
  leaseDurationMs: 3_000,
  k3sLooksMs: 0,
};

const DISPOSE_MS = 3_000;

/** Applies the rights of `deploy/` and returns a kubeconfig of the ServiceAccount that has them. */
export async function grantRights(plane: ControlPlane): Promise<string> {
  const applied = await plane.kubectl(['apply', '-f', rbac]);
  if (applied.code !== 0) throw new Error(applied.stderr);
  return plane.serviceAccountKubeconfig('kube-system', 'etcd-snapshot-operator');
}

/** An operator as a process of its own, from the source. It has no schedule unless `args` give one. */
export async function startOperator(plan: OperatorPlan): Promise<RunningOperator> {
  const scratch = await scratchDir('operator-');
  const dataDir = plan.dataDir ?? scratch.path;
  const dir = join(dataDir, 'server/db/snapshots');
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const [port] = await freePorts(1);
  const base = `http://127.0.0.1:${port}`;
  const logFile = join(scratch.path, 'operator.log');
  const settings = plan.plane.etcd.settings();
  const endpoint = plan.etcd ?? settings.endpoints[plan.member ?? 0] ?? '';
  const args = plan.args ?? [];
  const scheduled = args.some((arg) => arg.startsWith('--snapshot-schedule-cron'));
  const get = async (path: string) => {
    const answer = await fetch(`${base}${path}`, { signal: AbortSignal.timeout(30_000) });
    return { status: answer.status, text: await answer.text() };
  };
  const metric = async (name: string, labels: Readonly<Record<string, string>> = {}) =>
    sumOf((await get('/metrics')).text, `k3s_etcd_snapshot_${name}`, labels);
  const server: Server = await startServer({
    name: `operator of ${plan.node}`,
    command: process.execPath,
    args: [
      main,
      '--distribution=k3s',
      `--data-dir=${dataDir}`,
      `--node-name=${plan.node}`,
      `--kubeconfig=${plan.kubeconfig}`,
      `--listen-address=127.0.0.1:${port}`,
      ...etcdFlags({ ...settings, endpoints: [endpoint] }),
      ...(scheduled ? [] : ['--disable-snapshots']),
      ...(plan.s3 === undefined ? [] : s3Flags(plan.s3)),
      ...args,
    ],
    env: {
      TUNING: JSON.stringify({ ...quick, ...plan.tuning }),
      CLOCK: JSON.stringify(plan.clock ?? {}),
      ...(plan.s3 === undefined ? {} : s3Env(plan.s3)),
      ...plan.env,
    },
    logFile,
    ready: () =>
      get('/healthz').then(
        ({ status }) => status === 200,
        () => false,
      ),
  });
  return {
    node: plan.node,
    dir,
    dataDir,
    pid: server.pid,
    kill: (signal) => server.kill(signal),
    exited: server.exited,
    async stop() {
      server.kill('SIGTERM');
      return server.exited;
    },
    get,
    async ready() {
      while ((await get('/readyz')).status !== 200) await sleep(50);
    },
    async part(name, ready) {
      for (;;) {
        const { parts }: Report = JSON.parse((await get('/readyz')).text);
        const part = parts[name];
        if (part?.ready === ready) return part.reason ?? '';
        await sleep(20);
      }
    },
    metric,
    async looks(store, count, status = 'success') {
      const so = () => metric(`reconcile_${store}_duration_seconds_count`, { status });
      const before = await so();
      while ((await so()) < before + count) await sleep(20);
    },
    async quiet() {
      const count = () => metric('reconcile_local_duration_seconds_count');
      for (let before = -1; before !== (await count()); await sleep(500)) before = await count();
    },
    log: () => readFile(logFile, 'utf8'),
    async [Symbol.asyncDispose]() {
      // In good order if it can: the next operator then need not wait for the Lease to run out.
      server.kill('SIGTERM');
      await Promise.race([server.exited, sleep(DISPOSE_MS)]);
      await server[Symbol.asyncDispose]();
      if (plan.dataDir === undefined) await scratch[Symbol.asyncDispose]();
    },
  };
}

interface Report {
  readonly parts: Readonly<Record<string, { readonly ready: boolean; readonly reason?: string }>>;
}

function sumOf(text: string, name: string, labels: Readonly<Record<string, string>>): number {
  const wanted = Object.entries(labels).map(([key, value]) => `${key}="${value}"`);
  const series = text
    .split('\n')
    .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`));
  const values = series.flatMap((line) =>
    wanted.every((label) => line.includes(label)) ? [Number(line.slice(line.lastIndexOf(' ')))] : [],
  );
  return values.reduce((sum, value) => sum + value, 0);
}
