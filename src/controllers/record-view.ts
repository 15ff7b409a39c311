import { isS3Record } from '../crds/claim.ts';
import {
  type ETCDSnapshotFile,
  type Program,
  recordKeys,
  S3_NODE,
  snapshotFileResource,
} from '../crds/etcd-snapshot-file.ts';
import { storageNodeLabel } from '../crds/resource-name.ts';
import type { KubeClient } from '../kube/client.ts';
import { type ReflectorState, startReflector } from '../kube/reflector.ts';
import type { InventoryRecord } from '../reconcilers/inventory-plan.ts';
import type { RecordView } from '../reconcilers/ports.ts';
import type { Timers } from '../timers.ts';
import { createTrimmer, type RawRecord } from './trim-record.ts';

export interface RecordWatchOptions {
  readonly client: Pick<KubeClient, 'request' | 'watch'>;
  readonly program: Program;
  readonly timers: Timers;
  readonly random: () => number;
  readonly onChange: (
    name: string,
    now: InventoryRecord | undefined,
    before: InventoryRecord | undefined,
  ) => void;
  readonly onState: (state: ReflectorState) => void;
  readonly signal: AbortSignal;
}

export interface RecordWatch {
  readonly view: RecordView;
  /** Resolves when the signal has fired and nothing is open any more. */
  readonly stopped: Promise<void>;
}

/** All records, watched and filed by who keeps the copy. */
export function watchRecords(options: RecordWatchOptions): RecordWatch {
  const { client, program, timers, random, onChange, signal } = options;
  const trim = createTrimmer(program);
  let synced = false;
  let fresh = false;
  const { cache, stopped } = startReflector<RawRecord, InventoryRecord, 'keeper' | 'location' | 'takenOn'>({
    client,
    path: `/apis/${snapshotFileResource.apiVersion}/${snapshotFileResource.plural}`,
    transform: (raw) => trim(withClaim(raw), timers.monotonic()),
    // Of many thousands none is to be walked through for each record that is deleted.
    indexes: {
      keeper: ({ file }) => keeperOf(file, program),
      location: ({ file }) => file.spec.location,
      takenOn: ({ file }) => takenOn(file, program),
    },
    timers,
    random,
    onChange,
    onState(state) {
      synced = state.synced;
      fresh = state.synced && state.error === undefined;
      options.onState(state);
    },
    signal,
  });
  return {
    view: {
      get synced() {
        return synced;
      },
      get fresh() {
        return fresh;
      },
      get: (name) => cache.get(name),
      keptBy: (node) => cache.by('keeper', storageNodeLabel(node)),
      at: (location) => cache.by('location', location),
      takenOn: () => cache.keys('takenOn'),
      all: () => cache.all(),
    },
    stopped,
  };
}

/** The resource definition takes a record without `spec`, and whoever may create one must not be able to stop us by it. */
function withClaim(raw: RawRecord): RawRecord {
  const claim: Partial<ETCDSnapshotFile['spec']> | undefined = raw.spec;
  return { ...raw, spec: { snapshotName: '', nodeName: '', location: '', ...claim } };
}

/** The storage label, or what it would be: a record that somebody applied may lack it. */
export function keeperOf(file: ETCDSnapshotFile, program: Program): string {
  const label = file.metadata.labels?.[recordKeys(program).storageNode];
  return label ?? storageNodeLabel(isS3Record(file, program) ? S3_NODE : file.spec.nodeName);
}

/** The node that took the snapshot, where that is known. */
export function takenOn({ metadata, spec }: ETCDSnapshotFile, program: Program): string | undefined {
  const node = metadata.annotations?.[recordKeys(program).sourceNode] ?? spec.nodeName;
  return node === S3_NODE || node === '' ? undefined : node;
}
