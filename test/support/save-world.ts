import { createHash } from 'node:crypto';
import type { SnapshotError } from '../../src/errors.ts';
import type {
  MemberStatus,
  SnapshotDraft,
  SnapshotFolder,
  SnapshotStore,
  SnapshotUpload,
} from '../../src/snapshot/ports.ts';
import type { SaveParts } from '../../src/snapshot/save-snapshot.ts';
import type { S3Location, Snapshot } from '../../src/snapshot/snapshot.ts';

const database = Buffer.alloc(4096, 'kv');
export const whole = Buffer.concat([database, createHash('sha256').update(database).digest()]);
const now = new Date('2024-10-30T17:20:15.700Z');
export const name = 'on-demand-k3s-server-1-1730308816';
const status: MemberStatus = {
  endpoint: 'https://127.0.0.1:2379',
  memberId: '2',
  leaderId: '2',
  isLearner: false,
  errors: [],
};

export function s3Location(key: string): S3Location {
  return {
    store: 's3',
    endpoint: 'e',
    region: 'r',
    bucket: 'b',
    prefix: '',
    key,
    skipSSLVerify: false,
    insecure: false,
  };
}

/** Everything a save touches, in memory, with a diary of what happened in which order. */
export function saveWorld(
  change: {
    bytes?: Buffer;
    learner?: boolean;
    complaints?: readonly string[];
    commitFails?: SnapshotError;
    putFails?: SnapshotError;
    openFails?: SnapshotError;
  } = {},
) {
  const diary: string[] = [];
  const recorded: Snapshot[] = [];
  const unused = () => Promise.reject(new Error('not part of saving'));
  const draftOf = (identity: { name: string }): SnapshotDraft => {
    const chunks: Buffer[] = [];
    const { promise: proven, resolve, reject } = Promise.withResolvers<number>();
    proven.catch(() => diary.push('proof refused'));
    return {
      expectedSize: whole.length,
      proven,
      read: unused,
      async write(batch) {
        chunks.push(...batch.map((slice) => Buffer.from(slice)));
      },
      prove() {
        diary.push('proven');
        resolve(Buffer.concat(chunks).length);
      },
      async commit(facts) {
        if (change.commitFails !== undefined) throw change.commitFails;
        diary.push('committed');
        const size = Buffer.concat(chunks).length;
        const location = { store: 'local' as const, path: `/snapshots/${identity.name}` };
        const snapshot = {
          ...facts,
          name: identity.name,
          nodeName: 'k3s-server-1',
          createdAt: now,
          size,
          location,
        };
        return { snapshot: { ...snapshot, compressed: false }, warnings: [] };
      },
      async discard(reason) {
        diary.push('discarded');
        reject(reason);
      },
      async [Symbol.asyncDispose]() {
        diary.push('closed');
      },
    };
  };
  const folder: SnapshotFolder = {
    kind: 'local',
    put: unused,
    list: unused,
    stat: unused,
    open: unused,
    remove: unused,
    async sweep() {
      diary.push('swept');
      return [];
    },
    async lock() {
      diary.push('locked');
      return {
        async [Symbol.asyncDispose]() {
          diary.push('unlocked');
        },
      };
    },
    create: async (identity) => draftOf(identity),
  };
  const remote: SnapshotStore = {
    kind: 's3',
    list: unused,
    stat: unused,
    open: unused,
    remove: unused,
    sweep: async () => [],
    async put(upload: SnapshotUpload) {
      const size = await upload.bytes.proven;
      if (change.putFails !== undefined) throw change.putFails;
      diary.push('uploaded');
      const { createdAt, nodeName, compressed } = upload;
      const location = s3Location(upload.name);
      return {
        snapshot: { name: upload.name, nodeName, createdAt, compressed, size, location },
        warnings: [],
      };
    },
  };
  const parts: SaveParts = {
    source: {
      status: async () => ({
        ...status,
        isLearner: change.learner ?? false,
        errors: change.complaints ?? [],
      }),
      async open() {
        const bytes = change.bytes ?? whole;
        return {
          size: whole.length,
          async *[Symbol.asyncIterator]() {
            yield [bytes.subarray(0, 1000)];
            yield [bytes.subarray(1000, 2000), bytes.subarray(2000)];
          },
        };
      },
      close: () => undefined,
    },
    folder,
    remote: {
      open: async () => {
        if (change.openFails !== undefined) throw change.openFails;
        return remote;
      },
      location: s3Location,
    },
    recorder: {
      facts: async () => ({ clusterId: 'uid' }),
      async record(snapshot) {
        recorded.push(snapshot);
      },
    },
    tokenHash: async () => '2bb80d537b1d',
    compress: undefined,
    clock: { now: () => now },
  };
  return { parts, diary, recorded };
}
