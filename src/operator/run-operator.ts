import type { Config } from '../config/types.ts';
import { createController } from '../controllers/controller.ts';
import { watchDefinition } from '../controllers/definition-watch.ts';
import { createInventoryController } from '../controllers/inventory-controller.ts';
import { createLiveS3 } from '../controllers/live-s3.ts';
import { watchRecords } from '../controllers/record-view.ts';
import { createRecordWriter } from '../controllers/record-writer.ts';
import { watchS3Secret } from '../controllers/secret-watch.ts';
import type { Program } from '../crds/etcd-snapshot-file.ts';
import { isSnapshotError } from '../errors.ts';
import { connect } from '../kube/client.ts';
import { createClusterFacts } from '../kube/cluster-facts.ts';
import { createSnapshotFilesApi } from '../kube/snapshot-files-api.ts';
import type { Logger } from '../logger.ts';
import { startHealthServer } from '../ops/health-server.ts';
import { createMetrics } from '../ops/metrics.ts';
import { createRecordMemory } from '../reconcilers/record-memory.ts';
import { createSnapshotFileReconciler } from '../reconcilers/snapshot-file.ts';
import { watchSnapshotFolder } from '../stores/folder-watch.ts';
import { createLocalStore } from '../stores/local-store.ts';
import { systemTimers } from '../timers.ts';
import { deletionFacts, finalizerFor, isBesideK3s } from './beside-k3s.ts';
import { createPartStates, tellOnce } from './conditions.ts';
import { watchEnding } from './ending.ts';
import { createOperatorEvents } from './events.ts';
import { openKeptWishes } from './kept-wishes.ts';
import { takePartInElection } from './leadership.ts';
import { createLooks } from './looks.ts';
import { createPartReports } from './part-reports.ts';
import { createRecordReactions, FOLDER_SETTLES_MS } from './record-reactions.ts';
import { createOperatorRecorder, rememberCluster } from './recorder.ts';
import { createS3Opener } from './s3-stores.ts';
import { createSaver } from './saver.ts';
import { runScheduledSnapshots } from './scheduled-snapshots.ts';
import type { OperatorTuning } from './tuning.ts';

/** Records that are added to, or deleted with their data, at a time. */
const RECORD_WORKERS = 8;
/** k3s waits as long before it believes that an object is gone; so long apart are looks that shall agree on much. */
const YOUNG_MS = 60_000;
/** k3s puts each run off by as much. */
const JITTER_MS = 5_000;
/** By then it is known who leads, and who does not asks S3 whether it would take its snapshots. */
const ELECTION_MS = 5_000;
const PROBE = 'etcd-snapshot-operator-asks';
const FLUSH_MS = 3_000;

/**
 * Runs the operator until `stop` fires and what was running has ended, at the latest after the grace period.
 * @throws SnapshotError `usage` and others when it cannot even start: no kubeconfig, or an address that is taken. Whatever
 *   else is missing is reported, and taken up when it comes.
 */
export async function runOperator(
  config: Config,
  logger: Logger,
  stop: AbortSignal,
  tuning: OperatorTuning = {},
): Promise<void> {
  const { operator: settings, nodeName, snapshotName: base } = config;
  if (settings === undefined) throw new Error('the settings of the operator were not resolved');
  const { timers = systemTimers, random = Math.random } = tuning;
  const program: Program = config.distribution === 'rke2' ? 'rke2' : 'k3s';
  await using stack = new AsyncDisposableStack();

  const metrics = createMetrics(settings.clusterName);
  const { readiness, report } = createPartStates(metrics, logger);
  const health = stack.use(await startHealthServer({ ...settings.listen, readiness, metrics }));
  logger.info({ ...health.address }, 'Serving health and metrics');

  const client = stack.use(await connect(config.kubeconfig));
  const facts = createClusterFacts(client, program);
  const events = createOperatorEvents({ client, program, nodeName, s3: config.s3, timers, logger });
  const { tellOfSecret } = events;
  const reports = createPartReports({ report, tellOfSecret, countSuspended: metrics.suspended });
  const finalizer = finalizerFor(config, program);
  const files = createSnapshotFilesApi(client);
  const kept = stack.use(await openKeptWishes(config.snapshotDir, logger));
  const memory = createRecordMemory(program, timers, kept);
  const definition = watchDefinition({
    client,
    timers,
    random,
    onState: (error) => report('definition', error),
    onBack() {
      if (watched.view.synced) reactions.lookAtRecords();
    },
    signal: stop,
  });
  const ours = { files, program, finalizer, events };
  const writer = createRecordWriter({ ...memory, ...definition, ...ours, clock: timers });
  const folder = createLocalStore({
    dir: config.snapshotDir,
    isDefaultDir: config.snapshotDirIsDefault,
    nodeName,
  });
  const place = { store: 'local', dir: config.snapshotDir } as const;

  const live = createLiveS3({
    source: config.s3,
    retention: config.s3Retention,
    defaultRetention: settings.retention,
    open: await createS3Opener(config, { program, assertLeading: () => leadership.assert() }),
    onChange(view, before) {
      reports.s3Changed(view, before);
      inventory.look('leftovers');
      inventory.look('s3');
      reconsiderRecords();
    },
    onNotes(notes) {
      for (const note of notes) events.tellOfSecret(note);
    },
    now: () => timers.now(),
  });
  const recordsKnown = Promise.withResolvers<void>();
  const reactions = createRecordReactions({
    program,
    nodeName,
    base,
    memory,
    inventory: () => inventory,
    timers,
    enqueue: (name) => records.enqueue(name),
    report,
    onKnown() {
      recordsKnown.resolve();
      void rememberCluster(facts, logger, stop);
    },
  });
  const watched = watchRecords({
    client,
    program,
    timers,
    random,
    ...reactions,
    signal: stop,
  });
  const reconsiderRecords = () => {
    for (const { file } of watched.view.all()) records.enqueue(file.metadata.name);
  };
  const shared = {
    program,
    nodeName,
    folder,
    place,
    records: watched.view,
    writer,
    events,
    reread: (name: string, signal: AbortSignal) => files.get(name, signal),
    onDeleted: metrics.deleted,
    onDeletionFailed: metrics.deletionFailed,
    onPruned: reports.pruned,
  };
  const waiting = tellOnce(logger, 'A record has to wait');
  const records = createController({
    name: 'records',
    workers: RECORD_WORKERS,
    timers,
    random,
    reconcile: createSnapshotFileReconciler({
      ...shared,
      finalizer,
      folderPlace: place,
      s3: () => live.view(),
      deletionPolicy: settings.deletionPolicy,
      ...deletionFacts({
        config,
        program,
        facts,
        records: watched.view,
        clock: timers,
        k3sLooksMs: tuning.k3sLooksMs,
      }),
      clock: timers,
      isLeader: () => leadership.current() !== undefined,
    }),
    onOutcome(name, error) {
      metrics.reconciled('records', error === undefined);
      waiting.told(name, error);
    },
  });
  const saver = createSaver({
    config,
    folder,
    recorder: createOperatorRecorder({ client, program, nodeName, writer, folder, facts, logger }),
    s3View: () => live.view(),
    timers,
    observe: metrics.observe,
    onStreamed: reports.streamed,
    logger,
    onUploaded(error) {
      reports.uploaded(error);
      if (error !== undefined) inventory.doubtS3();
    },
  });
  const looks = createLooks({
    ...shared,
    memory,
    saver,
    facts,
    scheduledBase: settings.schedule === undefined ? undefined : base,
    youngMs: tuning.youngMs ?? YOUNG_MS,
    guardMs: tuning.guardMs ?? YOUNG_MS,
    apartMs: tuning.apartMs ?? settings.reconcileIntervalMs,
    skipDeparted: config.distribution === 'custom',
    annotatesS3: !isBesideK3s(config),
    timers,
    logger,
    onSnapshots: metrics.snapshots,
    onWaiting: metrics.waiting,
    onRefused: reports.refused,
    onSuspended: reports.suspended,
  });
  const inventory = createInventoryController({
    ...looks,
    isPaused: definition.definitionIsGoing,
    s3View: () => live.view(),
    // A name that no snapshot has: whether it is there does not matter, but that S3 says so.
    s3Probe: async (view, signal) => void (await view.store.stat(PROBE, signal)),
    leading: () => leadership.current(),
    observe: metrics.observe,
    onAnnotated: reports.annotated,
    onOutcome(look, error) {
      metrics.reconciled(look, error === undefined);
      reports.looked(look, error);
    },
    intervalMs: tuning.intervalMs ?? settings.reconcileIntervalMs,
    timers,
    random,
  });
  const leadersWork = Promise.withResolvers<void>();
  const leadership = takePartInElection({
    client,
    nodeName,
    timers,
    random,
    durationMs: tuning.leaseDurationMs,
    logger,
    onGained() {
      inventory.look('s3');
      inventory.look('departed');
      reconsiderRecords();
    },
    onState({ leading, error }) {
      metrics.leading(leading);
      if (!leading) reports.leadsNoMore();
      report('lease', isSnapshotError(error) ? error : undefined);
    },
    signal: stop,
    workEnded: leadersWork.promise,
  });

  const ending = stack.use(watchEnding({ ...settings, stop, readiness, logger, timers }));
  inventory.look('leftovers');
  inventory.look('etcd');
  if (live.view().state === 'ready') {
    reports.s3Changed(live.view(), { state: 'off' });
    inventory.lookAfter('s3', ELECTION_MS);
  }
  await Promise.all([
    watched.stopped,
    definition.stopped,
    leadership.stopped,
    Promise.all([records.run(stop), inventory.run(stop)]).then(() => leadersWork.resolve()),
    watchSnapshotFolder(config.snapshotDir, {
      timers,
      onChange: () => inventory.lookAfter('local', FOLDER_SETTLES_MS),
      onState: (error) => report('folder-watch', error),
      signal: stop,
    }),
    config.s3.kind === 'secret'
      ? watchS3Secret({ client, secret: config.s3.name, live, timers, random, signal: stop })
      : undefined,
    runScheduledSnapshots(
      {
        ...shared,
        config,
        settings,
        saver,
        metrics,
        logger,
        timers,
        random,
        recordsKnown: recordsKnown.promise,
        jitterMs: tuning.jitterMs ?? JITTER_MS,
        onState: reports.ran,
      },
      stop,
      ending.over,
    ),
  ]);
  await events.flush(AbortSignal.timeout(FLUSH_MS));
  logger.info({}, 'Ended');
}
