import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseFlags } from '../../src/config/flags.ts';
import { resolveConfig } from '../../src/config/resolve.ts';
import { createJsonLogger } from '../../src/logger.ts';
import { runOperator } from '../../src/operator/run-operator.ts';
import { etcdFlags, s3Env, s3Flags } from './command.ts';
import type { OperatorScene } from './fault-scene.ts';

export interface InsidePlan {
  readonly scene: OperatorScene;
  readonly node: string;
  /** Index of the etcd member. */
  readonly member: number;
  readonly folder: string;
  readonly dataDir: string;
  readonly args: readonly string[];
}

export interface OperatorInside {
  readonly node: string;
  /** The snapshot folder. */
  readonly dir: string;
  /** As SIGTERM would; resolves when it has ended. @throws what it ended with */
  stop(): Promise<void>;
}

/** An operator inside of the test's own process: all of it but the start of a process, which takes longer than the rest. */
export async function startInside(plan: InsidePlan): Promise<OperatorInside> {
  const { scene, node, member, folder, dataDir } = plan;
  const dir = join(dataDir, 'server/db/snapshots');
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const etcd = scene.plane.etcd.settings();
  const s3 = scene.settings(folder);
  const flags = parseFlags([
    'operator',
    '--distribution=k3s',
    `--data-dir=${dataDir}`,
    `--node-name=${node}`,
    `--kubeconfig=${scene.kubeconfig}`,
    '--listen-address=127.0.0.1:0',
    ...etcdFlags({ ...etcd, endpoints: [etcd.endpoints[member] ?? ''] }),
    ...s3Flags(s3),
    ...plan.args,
  ]);
  const config = resolveConfig('operator', flags, {
    env: s3Env(s3),
    hostname: 'unused',
    cwd: dataDir,
    exists: existsSync,
  });
  const stop = new AbortController();
  const logger = createJsonLogger(() => undefined, { debug: false });
  const tuning = {
    jitterMs: 0,
    youngMs: 0,
    guardMs: 300,
    apartMs: 1_000,
    leaseDurationMs: 3_000,
    intervalMs: 500,
  };
  const done = runOperator(config, logger, stop.signal, tuning);
  return {
    node,
    dir,
    async stop() {
      stop.abort();
      await done;
    },
  };
}
