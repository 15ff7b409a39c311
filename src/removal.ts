import type { Config } from './config/types.ts';
import type { SnapshotRecords } from './controllers/snapshot-records.ts';
import type { StorePlace } from './crds/claim.ts';
import { asError, isSnapshotError, SnapshotError } from './errors.ts';
import type { KubeClient } from './kube/client.ts';
import { finalizerFor } from './operator/beside-k3s.ts';
import { type DeletedSnapshot, type DeleteFailure, deleteSnapshots } from './snapshot/delete-snapshots.ts';
import type { Clock, SnapshotFolder, SnapshotStore } from './snapshot/ports.ts';
import { type PruneResult, pruneSnapshots } from './snapshot/prune-snapshots.ts';
import type { RemoteStore } from './snapshot/save-snapshot.ts';
import type { Program, Snapshot } from './snapshot/snapshot.ts';

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
        const object = store.kind === 's3' ? await store.stat(name, inner) : undefined;
        const place = placeOf(store.kind, name);
        assertNotHeld(records, name, place);
        assertOwn(records, object, name);
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
          const held = ({ name }: Snapshot) => {
            const place = placeOf(store.kind, name);
            return place !== undefined && records?.holder(name, place) !== undefined;
          };
          const result = await pruneSnapshots(store, { ...policy, held }, signal, { dryRun });
          done.push({ ...result, store: store.kind, keep: policy.keep });
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
  return readSnapshotRecords(client, { program, nodeName, finalizer, clock }, signal);
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

function assertNotHeld(records: SnapshotRecords, name: string, place: StorePlace | undefined): void {
  const holder = place === undefined ? undefined : records.holder(name, place);
  if (holder === undefined) return;
  throw new SnapshotError('held', `Snapshot ${name} is not deleted`, {
    why: `somebody has put a hold on its record ${holder.metadata.name}`,
    hint: `Look at its annotations with kubectl describe etcdsnapshotfile ${holder.metadata.name}, and take the hold away if it may go.`,
  });
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
