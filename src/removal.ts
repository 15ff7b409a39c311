import { stat } from 'node:fs/promises';
import type { Config } from './config/types.ts';
import type { SnapshotRecords, Wish } from './controllers/snapshot-records.ts';
import type { StorePlace } from './crds/claim.ts';
import { asError, isSnapshotError, SnapshotError, systemCode } from './errors.ts';
import type { KubeClient } from './kube/client.ts';
import { finalizerFor } from './operator/beside-k3s.ts';
import { type DeletedSnapshot, type DeleteFailure, deleteSnapshots } from './snapshot/delete-snapshots.ts';
import type { Clock, SnapshotFolder, SnapshotStore } from './snapshot/ports.ts';
import { type PruneResult, pruneSnapshots } from './snapshot/prune-snapshots.ts';
import { isOfWrongClock } from './snapshot/retention.ts';
import type { RemoteStore } from './snapshot/save-snapshot.ts';
import type { Program, Snapshot } from './snapshot/snapshot.ts';

/** As somebody wants it, and no failure of retention: what is held or locked goes with a later run. */
const WANTED = ['held', 'locked'] as const;

export interface RemovalParts {
  readonly config: Config;
  readonly program: Program;
  readonly folder: SnapshotFolder;
  readonly remote: RemoteStore | undefined;
  /** How many snapshots of each node the S3 Secret lets stay; known once `remote` is open. */
  readonly secretRetention: () => number | undefined;
  /** Undefined: no cluster is known, so nobody can hold anything. */
  readonly cluster: (() => Promise<KubeClient>) | undefined;
  readonly clock: Clock;
}

export interface DeleteOutcome {
  readonly deleted: readonly DeletedSnapshot[];
  readonly notFound: readonly string[];
  readonly failures: readonly DeleteFailure[];
  /** What did not work beside it: records that still stand, holds that could not be looked up. */
  readonly warnings: readonly Error[];
}

export interface StorePrune extends PruneResult {
  readonly store: SnapshotStore['kind'];
  /** How many of each node stay. */
  readonly keep: number;
  /** Without those that somebody holds, or that S3 keeps locked: they are among the warnings. */
  readonly failures: readonly DeleteFailure[];
}

export interface PruneOutcome {
  readonly stores: readonly StorePrune[];
  /** Stores where nothing was done, for they could not be listed, or must not be pruned. */
  readonly failures: readonly Error[];
  readonly warnings: readonly Error[];
}

/** Deletes what is asked for by name, or what is past retention, and sees to it that no record speaks of it any more. */
export interface Removal {
  /** @throws SnapshotError `usage` for names that are no plain file names; nothing was deleted then */
  delete(names: readonly string[], signal: AbortSignal): Promise<DeleteOutcome>;
  /** @throws SnapshotError when the records, which say what is held, cannot be read; nothing was deleted then */
  prune(dryRun: boolean, signal: AbortSignal): Promise<PruneOutcome>;
}

export function createRemoval(parts: RemovalParts): Removal {
  const { config, folder, remote } = parts;
  const stores = [folder, ...(remote === undefined ? [] : [lazyStore(remote)])];
  const placeOf = (kind: SnapshotStore['kind'], name: string): StorePlace | undefined => {
    if (kind === 'local') return { store: 'local', dir: config.snapshotDir };
    return remote?.location(name);
  };
  const forget = async (
    records: SnapshotRecords | undefined,
    { name, store }: DeletedSnapshot,
    signal: AbortSignal,
    warnings: Error[],
  ): Promise<boolean> => {
    const place = placeOf(store, name);
    if (records === undefined || place === undefined || signal.aborted) return false;
    try {
      return (await records.forget(name, place, signal)).length > 0;
    } catch (error) {
      warnings.push(asError(error));
      return true;
    }
  };

  return {
    async delete(names, signal) {
      const warnings: Error[] = [];
      const read = await readRecords(parts, signal).catch(asError);
      const records = read instanceof Error ? undefined : read;
      if (read instanceof Error) warnings.push(unchecked(read));
      const check = async (store: SnapshotStore, name: string, inner: AbortSignal) => {
        // The disk may have to be freed just when the API server is away; what many share can wait for it.
        if (read instanceof Error && store.kind === 's3') throw notWithoutRecords(name, read);
        if (records === undefined) return;
        const object = await store.stat(name, inner);
        const place = placeOf(store.kind, name);
        if (object === undefined || place === undefined) return;
        assertOwn(records, object, name);
        const wish = await records.reread(object, place, inner).catch(async (error: unknown) => {
          if (store.kind === 's3' || inner.aborted) throw error;
          // The API server went away just now: what it said a moment ago has to do.
          const file = (await records.about(place)).holder(name);
          return file === undefined ? undefined : { file, is: 'held' as const };
        });
        // Who names it decides what becomes of it, whatever waits for the end of its record.
        if (wish?.is === 'held') throw keeps(name, wish);
      };
      const result = await deleteSnapshots(
        stores.map((store) => guarded(store, check)),
        names,
        signal,
      );
      const failed = new Set(result.failures.map(({ name, store }) => `${store}/${name}`));
      const stale = new Set<string>();
      for (const { kind: store } of stores) {
        for (const name of new Set(names)) {
          if (failed.has(`${store}/${name}`)) continue;
          if (await forget(records, { name, store }, signal, warnings)) stale.add(name);
        }
      }
      return { ...result, notFound: result.notFound.filter((name) => !stale.has(name)), warnings };
    },

    async prune(dryRun, signal) {
      const records = await readRecords(parts, signal);
      const warnings: Error[] = [];
      const failures: Error[] = [];
      const done: StorePrune[] = [];
      for (const store of stores) {
        try {
          const policy = await policyFor(parts, store, records, signal);
          const place = placeOf(store.kind, '');
          const recorded = place === undefined ? undefined : await records?.about(place);
          const now = parts.clock.now();
          const held = ({ name }: Snapshot) => recorded?.holder(name) !== undefined;
          const result = await pruneSnapshots(store, { ...policy, held, now }, signal, {
            dryRun,
            recordedAt: ({ name }) => recorded?.recordedAt(name) ?? Number.NaN,
            async mayGo(snapshot, inner) {
              const wish = place === undefined ? undefined : await records?.reread(snapshot, place, inner);
              if (wish !== undefined) throw keeps(snapshot.name, wish);
            },
          });
          const failed = result.failures.filter(({ error }) => !isSnapshotError(error, ...WANTED));
          warnings.push(...result.warnings);
          warnings.push(...result.failures.flatMap((one) => (failed.includes(one) ? [] : [one.error])));
          for (const decision of result.plan.keep) {
            if (isOfWrongClock(decision, now)) warnings.push(ofWrongClock(decision.snapshot));
          }
          done.push({ ...result, failures: failed, store: store.kind, keep: policy.keep });
          for (const { name } of result.deleted) {
            await forget(records, { name, store: store.kind }, signal, warnings);
          }
        } catch (error) {
          failures.push(asError(error));
        }
      }
      return { stores: done, failures, warnings };
    },
  };
}

async function readRecords(
  { config, program, cluster, clock }: RemovalParts,
  signal: AbortSignal,
): Promise<SnapshotRecords | undefined> {
  if (cluster === undefined) return undefined;
  const [{ readSnapshotRecords }, client] = await Promise.all([
    import('./controllers/snapshot-records.ts'),
    cluster(),
  ]);
  const finalizer = finalizerFor(config, program);
  const { nodeName } = config;
  return readSnapshotRecords(client, { program, nodeName, finalizer, clock, identify }, signal);
}

async function policyFor(
  { config, remote, secretRetention }: RemovalParts,
  store: SnapshotStore,
  records: SnapshotRecords | undefined,
  signal: AbortSignal,
) {
  const base = config.snapshotName;
  if (store.kind === 'local') return { base, keep: config.retention, nodeName: config.nodeName };
  if (records === undefined) {
    throw new SnapshotError('usage', 'Nothing on S3 is pruned', {
      why: 'a folder there may be shared, so only objects of our own cluster go, and no kubeconfig tells which it is',
      hint: 'Name one with --kubeconfig, or delete by name.',
    });
  }
  // Only then the Secret has been read.
  await remote?.open(signal);
  const keep = config.s3Retention ?? secretRetention() ?? config.retention;
  return { base, keep, clusterId: records.clusterId };
}

/** The same store, from which nothing goes that `check` refuses by throwing. */
function guarded(
  store: SnapshotStore,
  check: (store: SnapshotStore, name: string, signal: AbortSignal) => Promise<void>,
): SnapshotStore {
  return {
    ...store,
    async remove(name, signal) {
      await check(store, name, signal);
      return store.remove(name, signal);
    },
  };
}

/** A store that is opened by the first call, so that its trouble is that of the call. */
function lazyStore(remote: RemoteStore): SnapshotStore {
  const open = (signal: AbortSignal) => remote.open(signal);
  return {
    kind: 's3',
    put: async (upload, signal) => (await open(signal)).put(upload, signal),
    list: async (signal, recall) => (await open(signal)).list(signal, recall),
    stat: async (name, signal) => (await open(signal)).stat(name, signal),
    open: async (name, signal, range) => (await open(signal)).open(name, signal, range),
    remove: async (name, signal) => (await open(signal)).remove(name, signal),
    sweep: async (signal) => (await open(signal)).sweep(signal),
  };
}

/** What somebody has asked for, as a reason not to delete. */
function keeps(name: string, { file, is }: Wish): SnapshotError {
  const record = file.metadata.name;
  if (is === 'leaving') {
    return new SnapshotError('held', `Snapshot ${name} is not deleted`, {
      why: `somebody deletes its record ${record}, and the deletion policy tells what becomes of the snapshot`,
      hint: `An operator sees to it; where none runs, write etcd-snapshot delete ${name}.`,
    });
  }
  return new SnapshotError('held', `Snapshot ${name} is not deleted`, {
    why: `somebody has put a hold on its record ${record}, which says that it is ${file.spec.location || 'nowhere'}`,
    hint: `Look at its annotations with kubectl describe etcdsnapshotfile ${record}, and take the hold away if it may go.`,
  });
}

function ofWrongClock({ name, nodeName }: Snapshot): SnapshotError {
  return new SnapshotError('clock-skew', `Snapshot ${name} is of a time that has not come yet`, {
    why: `the clock of ${nodeName} was wrong when it was taken, so it is kept beside those that are counted`,
    hint: `Check the clock of ${nodeName}, and delete the snapshot by name if it may go.`,
  });
}

/** @returns undefined when there is nothing. @throws system errors */
async function identify(path: string): Promise<string | undefined> {
  try {
    const { dev, ino } = await stat(path, { bigint: true });
    return `${dev}:${ino}`;
  } catch (error) {
    // What cannot be looked at may be anything.
    if (['ENOENT', 'ENOTDIR', 'EACCES', 'ELOOP', 'ENAMETOOLONG'].includes(systemCode(error) ?? ''))
      return undefined;
    throw error;
  }
}

/** Two clusters may share a folder, and even names: only the object itself tells whose it is. */
function assertOwn(records: SnapshotRecords, object: Snapshot | undefined, name: string): void {
  if (object?.clusterId === undefined || object.clusterId === records.clusterId) return;
  throw new SnapshotError('foreign', `Snapshot ${name} on S3 is not deleted`, {
    why: `the object says that it is of cluster ${object.clusterId}, and this one is ${records.clusterId}`,
    hint: 'Delete it on a server of that cluster, or by other means if that cluster is no more.',
  });
}

function unchecked(error: Error): SnapshotError {
  return new SnapshotError('unavailable', 'The records of the cluster cannot be read', {
    why: `${reasonOf(error)}; so holds are not known, and records of what is deleted on this disk stay`,
    hint: 'Bring the API server back; an operator then removes the records, or kubectl delete etcdsnapshotfile does.',
    cause: error,
  });
}

function notWithoutRecords(name: string, error: Error): SnapshotError {
  return new SnapshotError('unavailable', `Snapshot ${name} on S3 is not deleted`, {
    why: `whether it is held, and of which cluster it is, cannot be asked: ${reasonOf(error)}`,
    hint: 'Try again when the API server answers.',
    cause: error,
  });
}

function reasonOf(error: Error): string {
  return isSnapshotError(error) && error.why !== undefined ? `${error.message}: ${error.why}` : error.message;
}
