import { claimProblem, isS3Record, type StorePlace } from '../crds/claim.ts';
import { type ETCDSnapshotFile, type Program, recordKeys } from '../crds/etcd-snapshot-file.ts';
import { isSnapshotError, SnapshotError } from '../errors.ts';
import type { KubeClient } from '../kube/client.ts';
import { emitDeleted } from '../kube/snapshot-event.ts';
import { createSnapshotFilesApi } from '../kube/snapshot-files-api.ts';
import { clusterIdOf } from '../kube/snapshot-recorder.ts';
import { type InventoryRecord, MISSING } from '../reconcilers/inventory-plan.ts';
import { isHeld } from '../reconcilers/wishes.ts';
import type { Clock } from '../snapshot/ports.ts';

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
}

/** The records of a cluster, for a command that deletes snapshots and looks after nothing else. */
export interface SnapshotRecords {
  /** UID of kube-system. */
  readonly clusterId: string;
  /** The record, of the snapshot of that name in that place, on which somebody has put a hold. */
  holder(name: string, place: StorePlace): ETCDSnapshotFile | undefined;
  /**
   * Lets the records of a snapshot go whose data are gone; one that somebody applied only notes that they are. No record,
   * or one that somebody else removes first, is fine. Returns the records there were.
   * @throws SnapshotError a record is still there and says what is not true any more, or its end could not be told
   */
  forget(name: string, place: StorePlace, signal: AbortSignal): Promise<readonly ETCDSnapshotFile[]>;
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
  const recordsOf = (name: string, place: StorePlace) =>
    files.filter(
      (file) =>
        file.spec.snapshotName === name &&
        isS3Record(file, program) === (place.store === 's3') &&
        (place.store === 's3' || file.spec.nodeName === nodeName) &&
        claimProblem(file, place) === undefined,
    );

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
    holder: (name, place) => recordsOf(name, place).find((file) => isHeld(file, recordKeys(program))),
    async forget(name, place, signal) {
      const records = recordsOf(name, place);
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
