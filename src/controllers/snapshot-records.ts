import type { StorePlace } from '../crds/claim.ts';
import type { ETCDSnapshotFile, Program } from '../crds/etcd-snapshot-file.ts';
import { toSnapshotFile } from '../crds/mapping.ts';
import {
  type Identify,
  isHeldByAnybody,
  type Sameness,
  samenessOnDisk,
  samenessOnS3,
} from '../crds/same-copy.ts';
import { isSnapshotError, SnapshotError } from '../errors.ts';
import type { KubeClient } from '../kube/client.ts';
import { emitDeleted } from '../kube/snapshot-event.ts';
import { createSnapshotFilesApi } from '../kube/snapshot-files-api.ts';
import { clusterIdOf } from '../kube/snapshot-recorder.ts';
import { type InventoryRecord, MISSING } from '../reconcilers/inventory-plan.ts';
import type { Clock } from '../snapshot/ports.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import { createRecordWriter } from './record-writer.ts';
import { type RawRecord, toWholeRecord } from './trim-record.ts';

/** An operator that runs beside us adds its finalizer again as often as we lift it; then it sees to the record itself. */
const ATTEMPTS = 5;
/** A missing UID of kube-system must not pass for no cluster. */
const NO_ID = 'The namespace kube-system has no UID';

export interface SnapshotRecordsOptions {
  readonly program: Program;
  readonly nodeName: string;
  /** The finalizer by which a record waits for an operator of ours. */
  readonly finalizer: string;
  readonly clock: Clock;
  readonly identify: Identify;
}

/** The records of a cluster, for a command that deletes snapshots and looks after nothing else. */
export interface SnapshotRecords {
  /** UID of kube-system. */
  readonly clusterId: string;
  /** What the records say of the copies in a place. */
  about(place: StorePlace): Promise<PlaceRecords>;
  /**
   * What the API server says of a copy at this moment. A record made meanwhile is found by the name that K3s gives it.
   * @throws SnapshotError
   */
  reread(snapshot: Snapshot, place: StorePlace, signal: AbortSignal): Promise<Wish | undefined>;
  /**
   * Lets the records of a snapshot go whose data are gone; one that somebody applied only notes that they are. No record,
   * or one that somebody else removes first, is fine. Returns the records there were.
   * @throws SnapshotError a record is still there and says what is not true any more, or its end could not be told
   */
  forget(name: string, place: StorePlace, signal: AbortSignal): Promise<readonly ETCDSnapshotFile[]>;
}

export interface PlaceRecords {
  /**
   * The record on which somebody has put a hold, if it is of the copy of that name, or may be: the cluster may know folder,
   * server or node by another name than these settings, and who is not sure must not delete.
   */
  holder(name: string): ETCDSnapshotFile | undefined;
  /** When the copy was first recorded, in milliseconds by the clock of the API server; NaN when it was not. */
  recordedAt(name: string): number;
}

/** What keeps a copy from being deleted. */
export interface Wish {
  readonly file: ETCDSnapshotFile;
  /** `leaving`: somebody deletes its record, and what becomes of the data then is up to that deletion. */
  readonly is: 'held' | 'leaving';
}

/** Reads all records once. A cluster without their definition has none. @throws SnapshotError as `KubeClient.request` */
export async function readSnapshotRecords(
  client: KubeClient,
  options: SnapshotRecordsOptions,
  signal: AbortSignal,
): Promise<SnapshotRecords> {
  const { program, nodeName, finalizer, clock } = options;
  const api = createSnapshotFilesApi(client);
  const writer = createRecordWriter({ files: api, program, finalizer, clock, events: { emit: () => {} } });
  const [clusterId, files] = await Promise.all([
    clusterIdOf(client, signal),
    readAllRecords(client, signal).catch(unlessUndefined),
  ]);
  if (clusterId === undefined) throw new SnapshotError('protocol', NO_ID);
  const byName = Map.groupBy(files, ({ spec }) => spec.snapshotName);
  const samenessOf = async (file: ETCDSnapshotFile, place: StorePlace, name: string): Promise<Sameness> =>
    place.store === 's3'
      ? samenessOnS3(file, place, name)
      : samenessOnDisk(file, { nodeName, place, identify: options.identify }, name);
  const recordsOf = async (name: string, place: StorePlace): Promise<readonly ETCDSnapshotFile[]> => {
    const found: ETCDSnapshotFile[] = [];
    for (const file of byName.get(name) ?? []) {
      if ((await samenessOf(file, place, name)) === 'same') found.push(file);
    }
    return found;
  };

  const letGo = async (record: InventoryRecord, signal: AbortSignal): Promise<boolean> => {
    if (!record.applied) return writer.release(record, signal);
    await writer.mark(record, MISSING, signal);
    return false;
  };
  const forgetOne = async (name: string, signal: AbortSignal): Promise<void> => {
    for (let attempt = 1; ; attempt += 1) {
      const now: RawRecord | undefined = await api.get(name, signal);
      if (now === undefined) return;
      const record = toWholeRecord(now, 0);
      try {
        const gone = await letGo(record, signal);
        if (!gone || now.status?.error !== undefined) return;
        await emitDeleted(client, record.file, { program, nodeName, now: clock.now() }, signal);
        return;
      } catch (error) {
        if (!isSnapshotError(error, 'conflict') || attempt === ATTEMPTS) throw error;
      }
    }
  };
  return {
    clusterId,
    async about(place) {
      const holders = new Map<string, ETCDSnapshotFile>();
      const times = new Map<string, number>();
      for (const file of files) {
        const name = file.spec.snapshotName;
        const sameness = await samenessOf(file, place, name);
        if (sameness !== 'other' && isHeldByAnybody(file)) holders.set(name, file);
        const time = Date.parse(file.metadata.creationTimestamp ?? '');
        if (sameness !== 'same' || Number.isNaN(time)) continue;
        times.set(name, Math.min(time, times.get(name) ?? time));
      }
      return {
        holder: (name) => holders.get(name),
        recordedAt: (name) => times.get(name) ?? Number.NaN,
      };
    },
    async reread(snapshot, place, signal) {
      const { name } = snapshot;
      const names = new Set((byName.get(name) ?? []).map(({ metadata }) => metadata.name));
      names.add(toSnapshotFile(snapshot, program).metadata.name);
      const wishes: Wish[] = [];
      for (const record of names) {
        const file = await api.get(record, signal);
        const sameness = file === undefined ? 'other' : await samenessOf(file, place, name);
        if (file === undefined || sameness === 'other') continue;
        if (isHeldByAnybody(file)) return { file, is: 'held' };
        const leaves = sameness === 'same' && file.metadata.deletionTimestamp !== undefined;
        if (leaves) wishes.push({ file, is: 'leaving' });
      }
      return wishes[0];
    },
    async forget(name, place, signal) {
      const records = await recordsOf(name, place);
      for (const { metadata } of records) await forgetOne(metadata.name, signal);
      return records;
    },
  };
}

/** A cluster without the definition of the records has none. */
function unlessUndefined(error: unknown): readonly ETCDSnapshotFile[] {
  if (isSnapshotError(error, 'not-found')) return [];
  throw error;
}

/** All records, without what the API server notes about who wrote them. @throws SnapshotError as `KubeClient.request` */
export async function readAllRecords(
  client: Pick<KubeClient, 'request'>,
  signal: AbortSignal,
): Promise<readonly ETCDSnapshotFile[]> {
  const api = createSnapshotFilesApi(client);
  for (let attempt = 1; ; attempt += 1) {
    try {
      const files: ETCDSnapshotFile[] = [];
      for await (const file of api.list({}, signal)) files.push(toWholeRecord(file, 0).file);
      return files;
    } catch (error) {
      // A listing of many pages may grow too old to go on with.
      if (!isSnapshotError(error, 'conflict') || attempt === ATTEMPTS) throw error;
    }
  }
}
