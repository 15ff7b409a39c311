import { asError, isSnapshotError, SnapshotError } from '../errors.ts';
import type { Timed } from '../ops/metrics.ts';
import type { S3Ready, S3View } from '../reconcilers/ports.ts';
import type { Timers } from '../timers.ts';
import { type Controller, createController } from './controller.ts';

/**
 * What is looked at again and again, each on its own: the snapshot folder, S3, the etcd member, records of nodes that have
 * left, leftovers of dead saves.
 */
export type Look = 'local' | 's3' | 'etcd' | 'departed' | 'leftovers';

const OF_RECORDS: readonly Look[] = ['local', 's3', 'departed'];
/** What has just failed is not asked again at once. */
const DOUBT_MS = 5_000;

export interface InventoryControllerOptions {
  /** @returns whether anything was written */
  readonly local: (signal: AbortSignal) => Promise<boolean>;
  /** @returns whether anything was written or deleted */
  readonly s3: (view: S3Ready, signal: AbortSignal) => Promise<boolean>;
  readonly s3View: () => S3View;
  /** Asks S3 for something small: for who saves there and does not look there. @throws SnapshotError what it answers */
  readonly s3Probe: (view: S3Ready, signal: AbortSignal) => Promise<void>;
  /** Whether no record must be made or changed now. Whoever ends it has to ask for a look at all that have records. */
  readonly isPaused: () => boolean;
  readonly etcd: (signal: AbortSignal) => Promise<void>;
  readonly departed: (signal: AbortSignal) => Promise<void>;
  readonly leftovers: (signal: AbortSignal) => Promise<void>;
  /** Ends with the leadership of this process; undefined while it does not lead. */
  readonly leading: () => AbortSignal | undefined;
  /** Notes on the node that the records were brought into step. */
  readonly annotate: (store: 'local' | 's3', signal: AbortSignal) => Promise<void>;
  /** Whether that note could be written. The records are in step all the same. */
  readonly onAnnotated: (store: 'local' | 's3', error: SnapshotError | undefined) => void;
  readonly observe: (what: Timed, seconds: number, ok: boolean) => void;
  readonly onOutcome: (look: Look, error: SnapshotError | undefined) => void;
  /** Between two looks when nothing tells of a change. */
  readonly intervalMs: number;
  readonly timers: Timers;
  /** From 0 to below 1. */
  readonly random: () => number;
}

export interface InventoryController extends Pick<Controller, 'run' | 'busy'> {
  /** Makes that look happen now. */
  look(what: Look): void;
  /** Makes it happen after `ms`, unless it is due sooner already. */
  lookAfter(what: Look, ms: number): void;
  /** S3 has failed somebody: it is asked again, until it answers, also by who does not lead. */
  doubtS3(): void;
}

/** Keeps looking: each look again after the interval, and whenever it is asked for. */
export function createInventoryController(options: InventoryControllerOptions): InventoryController {
  const annotated = new Set<'local' | 's3'>();
  const timed = async (what: 'local' | 's3', work: () => Promise<boolean>): Promise<boolean> => {
    const began = options.timers.monotonic();
    let ok = false;
    try {
      const changed = await work();
      ok = true;
      return changed;
    } finally {
      const seconds = (options.timers.monotonic() - began) / 1000;
      options.observe(`reconcile_${what}`, seconds, ok);
      options.observe('reconcile', seconds, ok);
    }
  };
  /** An unchanged cluster is not written to, so the time on the node is that of the last look that found something to do. */
  const annotate = async (store: 'local' | 's3', changed: boolean, signal: AbortSignal) => {
    if (!changed && annotated.has(store)) return;
    try {
      await options.annotate(store, signal);
      annotated.add(store);
      options.onAnnotated(store, undefined);
    } catch (error) {
      if (signal.aborted) throw error;
      annotated.delete(store);
      options.onAnnotated(store, asSnapshotError(error));
    }
  };
  /** The settings with which S3 was last found to answer. */
  let answeredWith: AbortSignal | undefined;
  /** Each says whether it has found out how its part fares. */
  const looks: Readonly<Record<Look, (signal: AbortSignal) => Promise<boolean>>> = {
    async local(signal) {
      await annotate('local', await timed('local', () => options.local(signal)), signal);
      return true;
    },
    async s3(signal) {
      const leading = options.leading();
      const view = options.s3View();
      // Each node saves to S3, so each has to tell that it cannot; only the leader looks at what is there.
      if (view.state === 'unavailable') throw view.error;
      if (view.state === 'off') return false;
      if (leading === undefined) {
        if (answeredWith === view.outdated) return false;
        await options.s3Probe(view, AbortSignal.any([signal, view.outdated]));
        answeredWith = view.outdated;
        return true;
      }
      const both = AbortSignal.any([signal, leading, view.outdated]);
      await annotate('s3', await timed('s3', () => options.s3(view, both)), both);
      answeredWith = view.outdated;
      return true;
    },
    async departed(signal) {
      const leading = options.leading();
      if (leading !== undefined) await options.departed(AbortSignal.any([signal, leading]));
      return leading !== undefined;
    },
    async etcd(signal) {
      await options.etcd(signal);
      return true;
    },
    async leftovers(signal) {
      await options.leftovers(signal);
      return true;
    },
  };
  const interval = () => options.intervalMs * (0.9 + options.random() / 5);
  const controller = createController({
    name: 'inventory',
    workers: Object.keys(looks).length,
    timers: options.timers,
    random: options.random,
    async reconcile(key, signal) {
      const look = key as Look;
      const isPaused = () => OF_RECORDS.includes(look) && options.isPaused();
      if (isPaused()) return undefined;
      const view = look === 's3' ? options.s3View() : undefined;
      // What was found with settings that have changed meanwhile tells nothing; their change has asked for another look.
      const isOutdated = () => view?.state === 'ready' && view.outdated.aborted;
      try {
        const found = await looks[look](signal);
        if (isOutdated()) return undefined;
        if (found) options.onOutcome(look, undefined);
      } catch (error) {
        if (signal.aborted || isOutdated() || isPaused()) return undefined;
        if (isSnapshotError(error, 'aborted') && options.leading() === undefined) return undefined;
        options.onOutcome(look, asSnapshotError(error));
        // A failure waits its time, but no longer than a success would: nobody may tell when it is over.
        if (look !== 'leftovers') controller.enqueueAfter(look, interval());
        throw error;
      }
      return look === 'leftovers' ? undefined : { requeueAfterMs: interval() };
    },
  });
  return {
    look: (what) => controller.enqueue(what),
    lookAfter: (what, ms) => controller.enqueueAfter(what, ms),
    doubtS3() {
      answeredWith = undefined;
      controller.enqueueAfter('s3', DOUBT_MS);
    },
    run: (signal) => controller.run(signal),
    get busy() {
      return controller.busy;
    },
  };
}

function asSnapshotError(thrown: unknown): SnapshotError {
  if (isSnapshotError(thrown)) return thrown;
  return new SnapshotError('io', 'A look at the stores failed', { cause: asError(thrown) });
}
