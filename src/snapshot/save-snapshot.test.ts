import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { SnapshotError } from '../errors.ts';
import type { MemberStatus, SnapshotDraft, SnapshotFolder, SnapshotStore, SnapshotUpload } from './ports.ts';
import { type SaveParts, type SaveProgress, saveSnapshot } from './save-snapshot.ts';
import type { S3Location, Snapshot } from './snapshot.ts';

const database = Buffer.alloc(4096, 'kv');
const whole = Buffer.concat([database, createHash('sha256').update(database).digest()]);
const now = new Date('2024-10-30T17:20:15.700Z');
const name = 'on-demand-k3s-server-1-1730308816';
const status: MemberStatus = {
  endpoint: 'https://127.0.0.1:2379',
  memberId: '2',
  leaderId: '2',
  isLearner: false,
  errors: [],
};

function s3Location(key: string): S3Location {
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
function world(
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

const request = { base: 'on-demand', nodeName: 'k3s-server-1' };
const never = new AbortController().signal;
const quiet = () => undefined;

describe('saveSnapshot', () => {
  it('locks, sweeps, proves, and only then commits, uploads and records both copies', async () => {
    const { parts, diary, recorded } = world();
    const progress: SaveProgress[] = [];
    const result = await saveSnapshot(parts, request, (step) => progress.push(step), never);
    expect(diary.slice(0, 3)).toEqual(['locked', 'swept', 'proven']);
    expect(diary.slice(3, 5).toSorted()).toEqual(['committed', 'uploaded']);
    expect(diary.slice(5)).toEqual(['closed', 'unlocked']);
    expect(result.created.map((one) => [one.name, one.location.store])).toEqual([
      [name, 'local'],
      [name, 's3'],
    ]);
    expect(recorded).toEqual(result.created);
    expect(recorded[0]).toMatchObject({ clusterId: 'uid', tokenHash: '2bb80d537b1d', size: whole.length });
    expect(progress.at(-1)).toEqual({ store: 'local', bytes: whole.length, total: whole.length });
  });

  it.each([
    ['a flipped byte', Buffer.concat([Buffer.from('X'), whole.subarray(1)])],
    ['a truncated stream', whole.subarray(0, 3000)],
    ['a stream that goes on', Buffer.concat([whole, Buffer.alloc(512)])],
  ])('keeps nothing of %s, neither on disk nor on S3, and records the failure', async (_what, bytes) => {
    const { parts, diary, recorded } = world({ bytes });
    await expect(saveSnapshot(parts, request, quiet, never)).rejects.toMatchObject({ code: 'corrupt' });
    expect(diary).toEqual(['locked', 'swept', 'discarded', 'proof refused', 'closed', 'unlocked']);
    expect(recorded).toHaveLength(1);
    expect(recorded[0]).toMatchObject({ name, size: 0, location: { store: 'local', path: '' } });
    expect(recorded[0]?.failure?.message).toContain('damaged');
  });

  it('refuses a learner by name and takes nothing', async () => {
    const { parts, diary, recorded } = world({ learner: true });
    await expect(saveSnapshot(parts, request, quiet, never)).rejects.toMatchObject({
      code: 'learner',
      message: 'etcd member 2 at https://127.0.0.1:2379 cannot take a snapshot',
    });
    expect(diary).toEqual(['locked', 'swept', 'unlocked']);
    expect(recorded).toEqual([]);
  });

  it('takes a snapshot of a member with alarms, and tells each of them', async () => {
    const { parts } = world({ complaints: ['memberID:2 alarm:CORRUPT ', 'etcdserver: no leader'] });
    const result = await saveSnapshot(parts, request, quiet, never);
    expect(result.created).toHaveLength(2);
    expect(result.warnings).toMatchObject([
      {
        message: 'etcd member 2 at https://127.0.0.1:2379 is not well',
        why: 'etcd says: memberID:2 alarm:CORRUPT',
      },
      { why: 'etcd says: etcdserver: no leader' },
    ]);
  });

  it('keeps the local copy when the upload fails, and records the failure under its real location', async () => {
    const putFails = new SnapshotError('unavailable', 'S3 said 503', { why: 'SlowDown' });
    const { parts, recorded } = world({ putFails });
    const result = await saveSnapshot(parts, request, quiet, never);
    expect(result.created.map((one) => one.location.store)).toEqual(['local']);
    expect(result.failures).toEqual([putFails]);
    expect(recorded[1]).toMatchObject({
      location: { key: name },
      failure: { message: 'S3 said 503: SlowDown', time: new Date('2024-10-30T17:20:16Z') },
    });
  });

  it('counts the copy on S3 when the disk fails after the proof, and records both truths', async () => {
    const commitFails = new SnapshotError('disk-full', 'no room for the last page');
    const { parts, recorded } = world({ commitFails });
    const result = await saveSnapshot(parts, request, quiet, never);
    expect(result.created.map((one) => one.location.store)).toEqual(['s3']);
    expect(result.failures).toEqual([commitFails]);
    expect(recorded.map((record) => record.failure?.message)).toEqual([
      'no room for the last page',
      undefined,
    ]);
  });

  it('records an S3 client that could not be made without a location', async () => {
    const { parts, recorded } = world({
      openFails: new SnapshotError('tls', 'no certificate in the CA file'),
    });
    const result = await saveSnapshot(parts, request, quiet, never);
    expect(result.failures).toHaveLength(1);
    expect(recorded[1]).toMatchObject({ location: { store: 's3', key: '' } });
  });

  it('turns what went wrong with records and the token into warnings', async () => {
    const { parts } = world();
    const away = new SnapshotError('unavailable', 'API server away');
    const recorder = { facts: async () => ({}), record: () => Promise.reject(away) };
    const tokenHash = () => Promise.reject(new SnapshotError('usage', 'token file is empty'));
    const result = await saveSnapshot({ ...parts, recorder, tokenHash }, request, quiet, never);
    expect(result.created).toHaveLength(2);
    expect(result.warnings.map((warning) => warning.message)).toEqual([
      'token file is empty',
      'API server away',
      'API server away',
    ]);
  });

  it('is interrupted during the upload: says that the copy on disk is whole, and records nothing more', async () => {
    const { parts, recorded } = world({ putFails: new SnapshotError('aborted', 'Interrupted') });
    const interrupt = new AbortController();
    const clockwork = { ...parts.folder, sweep: async () => [] };
    const remote = {
      location: s3Location,
      open: async () => {
        interrupt.abort();
        throw new SnapshotError('aborted', 'Interrupted');
      },
    };
    const save = saveSnapshot({ ...parts, folder: clockwork, remote }, request, quiet, interrupt.signal);
    await expect(save).rejects.toMatchObject({
      code: 'aborted',
      why: expect.stringContaining(`whole (${name})`),
    });
    expect(recorded).toEqual([]);
  });
});
