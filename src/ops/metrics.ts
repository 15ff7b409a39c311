import { Counter, Gauge, Histogram, Registry } from 'prom-client';

type Store = 'local' | 's3';

/** k3s's own steps: 15 of them from 8 ms, each twice the last. */
const BUCKETS = Array.from({ length: 15 }, (_, at) => 0.008 * 2 ** at);

const durations = {
  save: 'A whole save, to every store that was asked for',
  save_local: 'Saving to the disk of the node',
  save_s3: 'Uploading to S3',
  reconcile: 'Bringing records and stores into step',
  reconcile_local: 'Bringing records and the snapshot folder into step',
  reconcile_s3: 'Bringing records and S3 into step',
} as const;

export type Timed = keyof typeof durations;

/** What the operator counts. The histograms have k3s's names, so that its dashboards go on working. */
export interface Metrics {
  /** @param seconds observed under `status` success or error */
  readonly observe: (what: Timed, seconds: number, ok: boolean) => void;
  /** A copy was made. @param at when, by this machine's clock */
  readonly succeeded: (schedule: string, store: Store, at: Date) => void;
  /** The schedule runs next then; undefined: never. */
  readonly nextRun: (schedule: string, stores: readonly Store[], at: Date | undefined) => void;
  /** Snapshots that retention or a deleted record should have removed, and that would not go. */
  readonly deletionFailed: (store: Store) => void;
  readonly deleted: (store: Store) => void;
  /** Snapshots that a look has found there; of S3 the leader tells, and nobody else. */
  readonly snapshots: (store: Store, count: number) => void;
  /** Records that would go, were it not that so many vanished at once; 0: no such thing. */
  readonly suspended: (store: Store, records: number) => void;
  /** Snapshots past retention that wait for a new upload of their node; of S3, by the leader. */
  readonly waiting: (store: Store, count: number) => void;
  readonly leading: (yes: boolean) => void;
  readonly ready: (part: string, yes: boolean) => void;
  readonly reconciled: (controller: string, ok: boolean) => void;
  /** In Prometheus' text format. */
  readonly text: () => Promise<string>;
  readonly contentType: string;
}

/** @param cluster a label of everything, for those who gather metrics from many clusters */
export function createMetrics(cluster: string | undefined): Metrics {
  const registry = new Registry();
  if (cluster !== undefined) registry.setDefaultLabels({ cluster });
  const registers = [registry];
  addProcessMetrics(registry);
  const histograms = Object.fromEntries(
    Object.entries(durations).map(([key, help]) => [
      key,
      new Histogram({
        name: `k3s_etcd_snapshot_${key}_duration_seconds`,
        help: `${help}, in seconds`,
        labelNames: ['status'],
        buckets: BUCKETS,
        registers,
      }),
    ]),
  ) as Record<Timed, Histogram<'status'>>;
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Gauge<L>({ name: `k3s_etcd_snapshot_${name}`, help, labelNames: [...labelNames], registers });
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Counter<L>({ name: `k3s_etcd_snapshot_${name}`, help, labelNames: [...labelNames], registers });

  const lastSuccess = gauge(
    'last_success_timestamp_seconds',
    'When a snapshot of this schedule was last safe in this store, as a Unix time',
    ['schedule', 'store'],
  );
  const nextRun = gauge(
    'next_run_timestamp_seconds',
    'When this schedule saves to this store next, as a Unix time; 0: never',
    ['schedule', 'store'],
  );
  const deletions = counter('deletions_total', 'Snapshots that were deleted from a store', ['store']);
  const failures = counter('deletion_failures_total', 'Deletions that a store refused; each attempt counts', [
    'store',
  ]);
  const snapshots = gauge('snapshots', 'Snapshots that were found in a store at the last look', ['store']);
  const suspended = gauge(
    'suspended_removals',
    'Records that stay although their snapshots are missing, because so many vanished at once',
    ['store'],
  );
  const waiting = gauge(
    'retention_waiting',
    'Snapshots that are past retention and wait for a new upload of their node',
    ['store'],
  );
  const leading = gauge('leader', 'Whether this process looks after what the nodes share', []);
  const ready = gauge('part_ready', 'Whether a part of the operator works', ['part']);
  const reconciles = counter('reconciles_total', 'Work items that a controller has handled', [
    'controller',
    'status',
  ]);
  const status = (ok: boolean) => (ok ? 'success' : 'error');

  return {
    observe: (what, seconds, ok) => histograms[what].observe({ status: status(ok) }, seconds),
    succeeded: (schedule, store, at) => lastSuccess.set({ schedule, store }, at.getTime() / 1000),
    nextRun(schedule, stores, at) {
      for (const store of stores) nextRun.set({ schedule, store }, (at?.getTime() ?? 0) / 1000);
    },
    deletionFailed: (store) => failures.inc({ store }),
    deleted: (store) => deletions.inc({ store }),
    snapshots: (store, count) => snapshots.set({ store }, count),
    suspended: (store, records) => suspended.set({ store }, records),
    waiting: (store, count) => waiting.set({ store }, count),
    leading(yes) {
      leading.set(yes ? 1 : 0);
      if (yes) return;
      snapshots.remove({ store: 's3' });
      waiting.remove({ store: 's3' });
    },
    ready: (part, yes) => ready.set({ part }, yes ? 1 : 0),
    reconciled: (controller, ok) => reconciles.inc({ controller, status: status(ok) }),
    text: () => registry.metrics(),
    contentType: registry.contentType,
  };
}

/**
 * Of the process, under the names that every dashboard knows, read when they are asked for. The library's own set would
 * measure the event loop too, with a timer that wakes an idle process a hundred times a second.
 */
function addProcessMetrics(registry: Registry): void {
  const registers = [registry];
  new Counter({
    name: 'process_cpu_seconds_total',
    help: 'Processor time that was spent, in seconds',
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc((user + system) / 1e6);
    },
  });
  const gauge = (name: string, help: string, value: () => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value());
      },
    });
  gauge('process_resident_memory_bytes', 'Memory that is held, in bytes', () => process.memoryUsage.rss());
  gauge(
    'nodejs_heap_size_used_bytes',
    'Of it, what objects take, in bytes',
    () => process.memoryUsage().heapUsed,
  );
  const start = Date.now() / 1000 - process.uptime();
  gauge('process_start_time_seconds', 'When the process was started, as a Unix time', () => start);
}
