import type { Config } from '../config/types.ts';
import { createFinalizer } from '../controllers/finalizer.ts';
import { type ETCDSnapshotFile, recordKeys, SEED_FINALIZER } from '../crds/etcd-snapshot-file.ts';
import { isSnapshotError, SnapshotError } from '../errors.ts';
import { connect } from '../kube/client.ts';
import { createSnapshotFilesApi, type SnapshotFilesApi } from '../kube/snapshot-files-api.ts';
import type { Logger } from '../logger.ts';
import { rest, systemTimers, type Timers } from '../timers.ts';
import { isBesideK3s } from './beside-k3s.ts';

/** Records that are written to at a time. */
const WORKERS = 8;
/** An operator that still runs has put its finalizers back by then. */
const SETTLES_MS = 2_000;

/**
 * Makes the cluster ready to do without the operator: takes every finalizer of ours off every record, so that nothing waits
 * for a process that never comes again. Touches no data and deletes no record.
 * @throws SnapshotError `busy` when an operator that still runs puts them back; else as `SnapshotFilesApi`
 */
export async function uninstallOperator(config: Config, logger: Logger, signal: AbortSignal): Promise<void> {
  await using client = await connect(config.kubeconfig);
  const files = createSnapshotFilesApi(client);
  const lifted = await liftAll({ files, finalizers: ourFinalizers(config), timers: systemTimers }, signal);
  logger.info({ records: lifted }, 'Finalizers are lifted; the data of all snapshots are as they were');
}

/** Both of ours, whichever program the cluster was of; that of k3s too, unless a k3s is there to lift it itself. */
export function ourFinalizers(config: Config): readonly string[] {
  const own = [recordKeys('k3s').finalizer, recordKeys('rke2').finalizer];
  return isBesideK3s(config) ? own : [...own, SEED_FINALIZER];
}

export interface LiftParts {
  readonly files: Pick<SnapshotFilesApi, 'get' | 'list' | 'patch'>;
  readonly finalizers: readonly string[];
  readonly timers: Timers;
}

/** @returns how many records had one of these finalizers */
export async function liftAll(parts: LiftParts, signal: AbortSignal): Promise<number> {
  const { files, timers } = parts;
  const bound = await recordsWith(parts, signal);
  const finalizers = parts.finalizers.map((finalizer) => createFinalizer({ files, finalizer }));
  const left = bound.values();
  const work = async () => {
    for (const file of left) {
      let now: ETCDSnapshotFile | undefined = file;
      for (const finalizer of finalizers) {
        if (now !== undefined) now = await finalizer.lift(now, signal);
      }
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, work));
  if (bound.length === 0) return 0;
  await rest(timers, SETTLES_MS, signal);
  signal.throwIfAborted();
  const [again] = await recordsWith(parts, signal);
  if (again === undefined) return bound.length;
  throw new SnapshotError('busy', 'The finalizers of the records cannot be lifted for good', {
    why: `${again.metadata.name} has one again: an operator still runs and puts it back`,
    hint: 'Stop the operators of all nodes, and try again.',
    retryable: true,
  });
}

async function recordsWith(
  { files, finalizers }: LiftParts,
  signal: AbortSignal,
): Promise<readonly ETCDSnapshotFile[]> {
  const found: ETCDSnapshotFile[] = [];
  try {
    for await (const file of files.list({}, signal)) {
      if (file.metadata.finalizers?.some((name) => finalizers.includes(name)) === true) found.push(file);
    }
  } catch (error) {
    // Without the definition there are no records.
    if (!isSnapshotError(error, 'not-found')) throw error;
  }
  return found;
}
