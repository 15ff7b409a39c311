import type { ETCDSnapshotFile, Program } from '../crds/etcd-snapshot-file.ts';
import { toSnapshotFile } from '../crds/mapping.ts';
import { recordedMessage } from '../crds/recorded-message.ts';
import { publishRecord } from '../kube/publish-record.ts';
import type { SnapshotFilesApi } from '../kube/snapshot-files-api.ts';
import type { RecordEvents, RecordWriter } from '../reconcilers/ports.ts';
import type { Clock } from '../snapshot/ports.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import { going } from './definition-watch.ts';
import { createFinalizer } from './finalizer.ts';

export interface RecordWriterOptions {
  readonly files: SnapshotFilesApi;
  readonly program: Program;
  /** Our finalizer: records are born with it, so that no deletion slips through before the first reconcile. */
  readonly finalizer: string;
  readonly clock: Clock;
  readonly events: RecordEvents;
  /** Whether the definition of the records is being deleted, as far as that is known: nothing is made or changed then. */
  readonly definitionIsGoing?: () => boolean;
  /** Annotations with which the record of this copy is born; none unless given. */
  readonly wishesFor?: (snapshot: Snapshot) => Readonly<Record<string, string>>;
}

export function createRecordWriter(options: RecordWriterOptions): RecordWriter {
  const { files, program, finalizer: name, definitionIsGoing = () => false } = options;
  const assertDefinitionStays = () => {
    if (definitionIsGoing()) throw going();
  };
  const finalizer = createFinalizer({ files, finalizer: name });
  /** UIDs of records between the lifting of our finalizer and their deletion. */
  const released = new Set<string>();
  const publish = async (snapshot: Snapshot, signal: AbortSignal) => {
    assertDefinitionStays();
    const file = toSnapshotFile(snapshot, program);
    const annotations = { ...options.wishesFor?.(snapshot), ...file.metadata.annotations };
    const described = Object.keys(annotations).length === 0 ? {} : { annotations };
    const desired = { ...file, metadata: { ...file.metadata, ...described, finalizers: [name] } };
    const { created, written } = await publishRecord(files, desired, program, signal);
    if (created !== undefined) tellCreated(options.events, created);
    return written;
  };
  const writeStatus = async (file: ETCDSnapshotFile, status: unknown, signal: AbortSignal) => {
    assertDefinitionStays();
    const { name: record, resourceVersion } = file.metadata;
    const operations = [
      { op: 'test', path: '/metadata/resourceVersion', value: resourceVersion },
      { op: 'add', path: '/status', value: status },
    ] as const;
    await files.patch(record, operations, signal);
  };
  return {
    publish,
    async refresh({ file, applied }, snapshot, signal) {
      const wanted = toSnapshotFile(snapshot, program);
      if (!applied && file.metadata.name === wanted.metadata.name) return publish(snapshot, signal);
      await writeStatus(file, wanted.status, signal);
      return true;
    },
    async mark({ file }, message, signal) {
      const time = options.clock
        .now()
        .toISOString()
        .replace(/\.\d{3}Z$/, 'Z');
      await writeStatus(file, { ...file.status, readyToUse: false, error: { time, message } }, signal);
    },
    async release({ file }, signal) {
      const { name: record, uid = '' } = file.metadata;
      released.add(uid);
      try {
        const free = await finalizer.liftUnchanged(file, signal);
        if (free === undefined) return false;
        // Exactly the record without our finalizer: with it, the deletion would take data along that came back meanwhile.
        const { resourceVersion = '' } = free.metadata;
        return await files.delete(record, { uid, resourceVersion }, signal);
      } finally {
        released.delete(uid);
      }
    },
    async ensureFinalizer(file, signal) {
      if (released.has(file.metadata.uid ?? '')) return false;
      if (definitionIsGoing()) return true;
      await finalizer.ensure(file, signal);
      return true;
    },
    async liftFinalizer(file, signal) {
      await finalizer.lift(file, signal);
    },
  };
}

/** In the seed's words, once: only the call that created the record comes here. */
function tellCreated(events: RecordEvents, file: ETCDSnapshotFile): void {
  const { type, reason, message } = recordedMessage(file);
  events.emit(file, type, reason, message);
}
