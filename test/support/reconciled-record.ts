import type { ETCDSnapshotFile } from '../../src/crds/etcd-snapshot-file.ts';
import { toSnapshotFile } from '../../src/crds/mapping.ts';
import { SnapshotError } from '../../src/errors.ts';
import type { S3View } from '../../src/reconcilers/ports.ts';
import { createSnapshotFileReconciler, type SnapshotFileParts } from '../../src/reconcilers/snapshot-file.ts';
import type { Snapshot, SnapshotLocation } from '../../src/snapshot/snapshot.ts';
import { fakeTimers } from './fake-clock.ts';

const FINALIZER = 'etcd.k3s.cattle.io/snapshot-storage';
export const HOLD = 'etcd.k3s.cattle.io/snapshot-hold';
export const POLICY = 'etcd.k3s.cattle.io/snapshot-deletion-policy';
const never = new AbortController().signal;
export const name = 'etcd-snapshot-node-1-1730308816';
export const createdAt = new Date('2024-10-30T17:20:16Z');
export const place = { store: 's3', endpoint: 's3.example.com', bucket: 'etcd', prefix: 'prod' } as const;
const s3Location: SnapshotLocation = {
  ...place,
  region: 'us-east-1',
  insecure: false,
  skipSSLVerify: false,
  key: `prod/${name}`,
};
export const onDisk: Snapshot = {
  name,
  nodeName: 'node-1',
  createdAt,
  size: 1056,
  compressed: false,
  location: { store: 'local', path: `/var/snapshots/${name}` },
};
export const onS3: Snapshot = { ...onDisk, location: s3Location };

export interface Change {
  readonly deleted?: boolean;
  readonly finalizers?: readonly string[];
  readonly annotations?: Record<string, string>;
  readonly spec?: Partial<ETCDSnapshotFile['spec']>;
}

export function record(
  of: Snapshot,
  { deleted = true, finalizers = [FINALIZER], annotations, spec }: Change = {},
) {
  const file = toSnapshotFile(of, 'k3s');
  const metadata = {
    ...file.metadata,
    finalizers,
    ...(annotations === undefined ? {} : { annotations }),
    ...(deleted ? { deletionTimestamp: '2024-10-31T00:00:00Z' } : {}),
  };
  return { ...file, metadata, spec: { ...file.spec, ...spec } };
}

export interface World {
  readonly leader?: boolean;
  readonly definitionIsGoing?: boolean;
  readonly nodeIsGone?: boolean;
  readonly policy?: 'Delete' | 'Retain';
  readonly s3?: 'off' | 'unavailable';
  /** The cluster that the object names; null: none. */
  readonly objectOf?: string | null;
  readonly remove?: () => Promise<boolean>;
  readonly k3s?: string;
  /** A person or a pipeline has written it. */
  readonly applied?: boolean;
  /** The record as the API server has it, when the watch is behind; null: it is gone. */
  readonly now?: ETCDSnapshotFile | null;
  /** More records. */
  readonly others?: readonly ETCDSnapshotFile[];
}

/** Runs the reconciler once over one record, and returns what it did, in order. */
export async function reconcile(file: ETCDSnapshotFile, world: World = {}): Promise<string[]> {
  const scene = startReconciler(file, world);
  await scene.run();
  return scene.diary;
}

export function startReconciler(file: ETCDSnapshotFile, world: World = {}) {
  const diary: string[] = [];
  const messages: string[] = [];
  /** The stores of deletions that count. */
  const counted: string[] = [];
  const timers = fakeTimers();
  const store = (kind: string) => ({
    stat: async () => {
      const { objectOf: clusterId = 'this-cluster' } = world;
      return { ...onS3, ...(clusterId === null ? {} : { clusterId }) };
    },
    remove: async (removed: string) => {
      diary.push(`remove ${kind} ${removed}`);
      return world.remove?.() ?? true;
    },
  });
  const view = (): S3View => {
    if (world.s3 === 'off') return { state: 'off' };
    const error = new SnapshotError('not-found', 'no Secret', { retryable: true });
    if (world.s3 === 'unavailable') return { state: 'unavailable', error };
    return { state: 'ready', shared: store('s3'), place, retention: 5 } as unknown as S3View;
  };
  const parts = {
    program: 'k3s',
    nodeName: 'node-1',
    finalizer: FINALIZER,
    records: {
      get: () => ({ file, applied: world.applied ?? false, seenAt: 0 }),
      at: (location: string) =>
        [file, ...(world.others ?? [])]
          .filter(({ spec }) => spec.location === location)
          .map((one) => ({ file: one, applied: false, seenAt: 0 })),
    },
    reread: async () => (world.now === undefined ? file : (world.now ?? undefined)),
    clock: timers,
    writer: {
      ensureFinalizer: async () => diary.push('ensure') > 0,
      liftFinalizer: async () => diary.push('lift'),
    },
    events: {
      emit(_: unknown, type: string, reason: string, message: string) {
        diary.push(`${type} ${reason}`);
        messages.push(message);
      },
    },
    folder: store('local'),
    folderPlace: { store: 'local', dir: '/var/snapshots' },
    s3: view,
    deletionPolicy: world.policy ?? 'Delete',
    isLeader: () => world.leader ?? true,
    clusterId: async () => 'this-cluster',
    definitionIsGoing: async () => world.definitionIsGoing ?? false,
    nodeIsGone: async () => world.nodeIsGone ?? false,
    k3sMayHaveDeleted: async () => world.k3s,
    onDeleted: (kind: string) => counted.push(kind),
    onDeletionFailed: () => {},
  } as unknown as SnapshotFileParts;
  const run = createSnapshotFileReconciler(parts);
  return {
    diary,
    messages,
    counted,
    timers,
    run: () =>
      run(file.metadata.name, never).catch((error: unknown) => {
        diary.push(`throws ${error instanceof SnapshotError ? error.code : String(error)}`);
      }),
  };
}
