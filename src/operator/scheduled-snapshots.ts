import type { OperatorSettings } from '../config/operator-settings.ts';
import type { Config } from '../config/types.ts';
import { runSchedule } from '../controllers/schedule-controller.ts';
import type { LocalPlace } from '../crds/claim.ts';
import { S3_NODE } from '../crds/etcd-snapshot-file.ts';
import { isSnapshotError, type SnapshotError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import type { Metrics } from '../ops/metrics.ts';
import { type PruneParts, pruneStore } from '../reconcilers/prune.ts';
import { createScheduledSnapshot } from '../reconcilers/scheduled-snapshot.ts';
import { lastScheduled } from '../snapshot/last-scheduled.ts';
import type { SnapshotFolder } from '../snapshot/ports.ts';
import { locationUrl } from '../snapshot/snapshot.ts';
import { rest, type Timers } from '../timers.ts';
import type { Saver } from './saver.ts';

/** An API server that is away holds the schedule up no longer. */
const RECORDS_MS = 10_000;

export interface ScheduleParts extends PruneParts {
  readonly config: Config;
  readonly settings: OperatorSettings;
  readonly saver: Saver;
  readonly folder: SnapshotFolder;
  readonly place: LocalPlace;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly timers: Timers;
  readonly random: () => number;
  readonly jitterMs: number;
  /** Resolves when the records have been listed. */
  readonly recordsKnown: Promise<void>;
  /** What the last run came to. @param ofS3 the copy on disk stands, and only S3 is missing */
  readonly onState: (error: SnapshotError | undefined, ofS3: boolean) => void;
}

/** The schedule of the flags: saves, prunes and tells. Resolves when `stop` has fired and a run that was going has ended. */
export async function runScheduledSnapshots(
  parts: ScheduleParts,
  stop: AbortSignal,
  abort: AbortSignal,
): Promise<void> {
  const { config, settings, saver, folder, metrics, logger, timers } = parts;
  const { schedule } = settings;
  if (schedule === undefined) {
    logger.info({}, 'Scheduled snapshots are switched off');
    return;
  }
  const base = config.snapshotName;
  const stores = config.s3.kind === 'off' ? (['local'] as const) : (['local', 's3'] as const);
  const last = await lastRuns(parts, stop);
  for (const [store, at] of last) metrics.succeeded(base, store, at);
  const attempt = createScheduledSnapshot({
    save: (signal) => saver.save(signal),
    async prune({ created }, signal) {
      const policy = {
        base,
        keep: settings.retention,
        keeper: config.nodeName,
        place: parts.place,
        now: timers.now(),
        made: new Set(created.map(({ name }) => name)),
      };
      await pruneStore(parts, folder, await folder.list(signal), policy, signal);
    },
    onSaved({ created, failures, warnings }) {
      for (const snapshot of created) {
        metrics.succeeded(base, snapshot.location.store, timers.now());
        const facts = {
          snapshot: snapshot.name,
          location: locationUrl(snapshot.location),
          size: snapshot.size,
        };
        logger.info(facts, 'Snapshot saved');
      }
      for (const { message, why, hint } of failures)
        logger.error({ reason: message, why, hint }, 'A copy failed');
      for (const { message } of warnings)
        logger.warn({ reason: message }, 'A snapshot was saved with a reservation');
      parts.onState(
        failures[0],
        created.some(({ location }) => location.store === 'local'),
      );
    },
    onFailed(error) {
      logger.error(
        { reason: error.message, why: error.why, hint: error.hint },
        'A scheduled snapshot failed',
      );
      parts.onState(error, false);
    },
    onPruneFailed: ({ message, why, hint }) =>
      logger.error({ reason: message, why, hint }, 'Old snapshots could not be deleted'),
  });
  await runSchedule(
    {
      schedule,
      lastRun: [...last.values()].toSorted((a, b) => a.getTime() - b.getTime()).at(-1),
      jitterMs: parts.jitterMs,
      timers,
      random: parts.random,
      attempt,
      onNext(at) {
        metrics.nextRun(base, stores, at);
        logger.info({ schedule: base, at: at?.toISOString() }, 'Next scheduled snapshot');
      },
      onSkipped: (at) =>
        logger.warn({ due: at.toISOString() }, 'A scheduled snapshot is skipped: the last one still runs'),
      onError: ({ message }) => logger.error({ reason: message }, 'The schedule met an unexpected error'),
    },
    stop,
    abort,
  );
}

/**
 * When this schedule was last safe in each store, as files and records tell: what fell due while no operator ran is owed, and
 * whoever watches for snapshots that stay away must not be blind after each start.
 */
async function lastRuns(
  { config, folder, records, recordsKnown, logger, timers }: ScheduleParts,
  stop: AbortSignal,
): Promise<ReadonlyMap<'local' | 's3', Date>> {
  const known = new AbortController();
  await Promise.race([recordsKnown, rest(timers, RECORDS_MS, AbortSignal.any([stop, known.signal]))]);
  known.abort();
  const onDisk = async (): Promise<readonly string[]> => {
    try {
      return (await folder.list(stop)).map(({ name }) => name);
    } catch (error) {
      if (!isSnapshotError(error)) throw error;
      if (!stop.aborted)
        logger.warn({ reason: error.message }, 'When a snapshot was last taken is not known');
      return [];
    }
  };
  const onS3 = records
    .keptBy(S3_NODE)
    .filter(({ file }) => file.status?.readyToUse === true)
    .map(({ file }) => file.spec.snapshotName);
  const schedule = { base: config.snapshotName, nodeName: config.nodeName };
  const found = new Map<'local' | 's3', Date>();
  for (const [store, names] of [
    ['local', await onDisk()],
    ['s3', config.s3.kind === 'off' ? [] : onS3],
  ] as const) {
    const at = lastScheduled(names, schedule, timers.now());
    if (at !== undefined) found.set(store, at);
  }
  return found;
}
