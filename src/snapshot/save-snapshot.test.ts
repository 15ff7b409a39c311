import { describe, expect, it } from 'vitest';
import { name, s3Location, saveWorld, whole } from '../../test/support/save-world.ts';
import { abortError, SnapshotError } from '../errors.ts';
import { type SaveProgress, saveSnapshot } from './save-snapshot.ts';
import type { Snapshot } from './snapshot.ts';

const request = { base: 'on-demand', nodeName: 'k3s-server-1' };
const never = new AbortController().signal;
const quiet = () => undefined;
const failing = (error: Error) => () => {
  throw error;
};

describe('saveSnapshot', () => {
  it('locks, sweeps, proves, and only then commits, uploads and records both copies', async () => {
    const { parts, diary, recorded } = saveWorld();
    const progress: SaveProgress[] = [];
    const result = await saveSnapshot(parts, request, (step) => progress.push(step), never);
    expect(diary.slice(0, 3)).toEqual(['locked', 'swept', 'proven']);
    expect(diary.slice(3, 5).toSorted()).toEqual(['committed', 'uploaded']);
    expect(diary.slice(5)).toEqual(['swept s3', 'closed', 'unlocked']);
    expect(result.created.map((one) => [one.name, one.location.store])).toEqual([
      [name, 'local'],
      [name, 's3'],
    ]);
    expect(recorded).toEqual(result.created);
    expect(recorded[0]).toMatchObject({ clusterId: 'uid', tokenHash: '2bb80d537b1d', size: whole.length });
    for (const store of ['local', 's3'] as const) {
      const steps = progress.filter((step) => step.store === store);
      expect(steps.at(-1)).toEqual({ store, bytes: whole.length, total: whole.length });
    }
  });

  it('uploads while etcd still sends', async () => {
    const uploaded = Promise.withResolvers<void>();
    let batches = 0;
    const batch = async () => {
      batches += 1;
      // The rest of the stream comes only when the first bytes of it have been read for S3.
      if (batches === 3) await uploaded.promise;
    };
    const { parts } = saveWorld({ at: { batch } });
    const onProgress = ({ store }: SaveProgress) => {
      if (store === 's3') uploaded.resolve();
    };
    expect((await saveSnapshot(parts, request, onProgress, never)).created).toHaveLength(2);
  });

  it('refuses a snapshot whose memory is given back while it is written', async () => {
    const { parts, diary } = saveWorld();
    async function* hasty() {
      const bytes = Uint8Array.from(whole);
      yield [bytes];
      await new Promise((resolve) => setImmediate(resolve));
      bytes.buffer.transfer(0);
    }
    const source = {
      ...parts.source,
      open: async () => ({ size: whole.length, [Symbol.asyncIterator]: hasty }),
    };
    const saving = saveSnapshot({ ...parts, source }, request, quiet, never);
    await expect(saving).rejects.toMatchObject({
      code: 'corrupt',
      why: `${whole.length} bytes were received and proven, and 0 of them were written`,
    });
    expect(diary).toContain('discarded');
    expect(diary).not.toContain('committed');
  });

  it('records the copy on disk as soon as it stands, though the upload never ends', async () => {
    const interrupt = new AbortController();
    const record = Promise.withResolvers<void>();
    const upload = (signal: AbortSignal) =>
      new Promise<never>((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(abortError(signal)));
      });
    const { parts, recorded } = saveWorld({ at: { upload, record: () => record.resolve() } });
    const stored: Snapshot[] = [];
    const onStored = (snapshot: Snapshot) => stored.push(snapshot);
    const save = saveSnapshot({ ...parts, onStored }, request, quiet, interrupt.signal);
    await record.promise;
    await Promise.resolve();
    expect(stored).toMatchObject([{ name, location: { store: 'local' } }]);
    expect(recorded).toMatchObject([{ location: { store: 'local', path: `/snapshots/${name}` } }]);
    interrupt.abort();
    await expect(save).rejects.toMatchObject({
      message: 'Interrupted during the upload to S3',
      why: `whole for certain: file:///snapshots/${name}`,
    });
  });

  it.each([
    ['a flipped byte', Buffer.concat([Buffer.from('X'), whole.subarray(1)])],
    ['a truncated stream', whole.subarray(0, 3000)],
    ['a stream that goes on', Buffer.concat([whole, Buffer.alloc(512)])],
  ])('keeps nothing of %s, neither on disk nor on S3, and records the failure', async (_what, bytes) => {
    const { parts, diary, recorded } = saveWorld({ bytes });
    await expect(saveSnapshot(parts, request, quiet, never)).rejects.toMatchObject({ code: 'corrupt' });
    expect(diary.slice(0, 3)).toEqual(['locked', 'swept', 'discarded']);
    expect(diary.slice(3, 5).toSorted()).toEqual(['proof refused', 'upload ended']);
    expect(diary.slice(5)).toEqual(['closed', 'unlocked']);
    expect(recorded).toHaveLength(1);
    expect(recorded[0]).toMatchObject({ name, size: 0, location: { store: 'local', path: '' } });
    expect(recorded[0]?.failure?.message).toContain('damaged');
  });

  it('ends an upload that hangs when the stream breaks off', async () => {
    const broken = new SnapshotError('unavailable', 'etcd is gone');
    const asked = Promise.withResolvers<void>();
    const { parts, diary } = saveWorld({ at: { batch: () => asked.promise.then(failing(broken)) } });
    const remote = {
      location: s3Location,
      open: (signal: AbortSignal) =>
        new Promise<never>((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(abortError(signal)));
          asked.resolve();
        }),
    };
    await expect(saveSnapshot({ ...parts, remote }, request, quiet, never)).rejects.toBe(broken);
    expect(diary.at(-1)).toBe('unlocked');
  });

  it.each([
    { what: 'a learner', learner: true, says: /cannot take a snapshot: it is a learner/ },
    {
      what: 'a member that does not answer',
      status: new SnapshotError('unavailable', 'Cannot connect to etcd', { why: 'nobody listens' }),
      says: /Cannot connect to etcd: nobody listens/,
    },
  ])('takes nothing of $what, and records why', async ({ learner = false, status, says }) => {
    const at = status === undefined ? {} : { status: failing(status) };
    const { parts, diary, recorded } = saveWorld({ learner, at });
    await expect(saveSnapshot(parts, request, quiet, never)).rejects.toMatchObject({
      code: learner ? 'learner' : 'unavailable',
    });
    expect(diary).toEqual(['locked', 'swept', 'unlocked']);
    expect(recorded).toMatchObject([
      {
        name,
        size: 0,
        location: { store: 'local', path: '' },
        failure: { time: new Date('2024-10-30T17:20:16Z'), message: expect.stringMatching(says) },
      },
    ]);
  });

  it('records nothing when another save runs: that one makes a record of its own', async () => {
    const { parts, recorded } = saveWorld({ at: { lock: failing(new SnapshotError('busy', 'Busy')) } });
    await expect(saveSnapshot(parts, request, quiet, never)).rejects.toMatchObject({ code: 'busy' });
    expect(recorded).toEqual([]);
  });

  it('takes a snapshot of a member with alarms, and tells each of them', async () => {
    const { parts } = saveWorld({ complaints: ['memberID:2 alarm:CORRUPT ', 'etcdserver: no leader'] });
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

  it('takes a snapshot although nothing can be tidied up, on disk or on S3', async () => {
    const onDisk = new SnapshotError('io', 'Cannot tidy up /snapshots');
    const onS3 = new SnapshotError('forbidden', 'Cannot tidy up s3://b');
    const { parts } = saveWorld({ at: { sweep: failing(onDisk), 'sweep s3': failing(onS3) } });
    const result = await saveSnapshot(parts, request, quiet, never);
    expect(result.created).toHaveLength(2);
    expect(result.failures).toEqual([]);
    expect(result.warnings).toEqual([onDisk, onS3]);
  });

  it('keeps the local copy when the upload fails, records the failure where it would be, and asks S3 no more', async () => {
    const away = new SnapshotError('unavailable', 'S3 said 503', { why: 'SlowDown' });
    const { parts, diary, recorded } = saveWorld({ at: { upload: failing(away) } });
    const result = await saveSnapshot(parts, request, quiet, never);
    expect(result.created.map((one) => one.location.store)).toEqual(['local']);
    expect(result.failures).toEqual([away]);
    expect(recorded[1]).toMatchObject({
      location: { key: name },
      failure: { message: 'S3 said 503: SlowDown', time: new Date('2024-10-30T17:20:16Z') },
    });
    expect(diary).not.toContain('swept s3');
  });

  it('counts the copy on S3 when the disk fails after the proof, and records both truths', async () => {
    const full = new SnapshotError('disk-full', 'no room for the last page');
    const { parts, recorded } = saveWorld({ at: { commit: failing(full) } });
    const result = await saveSnapshot(parts, request, quiet, never);
    expect(result.created.map((one) => one.location.store)).toEqual(['s3']);
    expect(result.failures).toEqual([full]);
    expect(recorded.map((record) => record.failure?.message)).toEqual([
      'no room for the last page',
      undefined,
    ]);
  });

  it('tells and records both when neither copy can be finished', async () => {
    const full = new SnapshotError('disk-full', 'no room for the last page');
    const away = new SnapshotError('unavailable', 'S3 is away');
    const { parts, recorded } = saveWorld({ at: { commit: failing(full), upload: failing(away) } });
    await expect(saveSnapshot(parts, request, quiet, never)).rejects.toMatchObject({
      code: 'disk-full',
      message: full.message,
      besides: [away],
    });
    expect(recorded.map((one) => [one.location.store, one.failure?.message])).toEqual([
      ['local', full.message],
      ['s3', away.message],
    ]);
  });

  it('tells the first cause when the disk fails again in the cleaning up, and ends the upload before the lock', async () => {
    const readOnly = new SnapshotError('read-only', 'Cannot write');
    const [discard, close] = [new Error('EROFS: unlink'), new Error('EIO: close')];
    const batch = failing(readOnly);
    const { parts, diary } = saveWorld({ at: { batch, discard: failing(discard), close: failing(close) } });
    await expect(saveSnapshot(parts, request, quiet, never)).rejects.toMatchObject({
      code: 'read-only',
      message: 'Cannot write',
      besides: [discard, close],
    });
    expect(diary).toContain('upload ended');
    expect(diary.at(-1)).toBe('unlocked');
  });

  it('records an upload whose name is taken without a location: the object there is another one', async () => {
    const taken = new SnapshotError('exists', 'there is an object of that name already');
    const { parts, recorded } = saveWorld({ at: { upload: failing(taken) } });
    expect(await saveSnapshot(parts, request, quiet, never)).toMatchObject({ failures: [taken] });
    expect(recorded[1]).toMatchObject({
      location: { store: 's3', key: '' },
      failure: { message: taken.message },
    });
  });

  it('records an S3 client that could not be made without a location', async () => {
    const noCa = new SnapshotError('tls', 'no certificate in the CA file');
    const { parts, recorded } = saveWorld({ at: { 'open s3': failing(noCa) } });
    const result = await saveSnapshot(parts, request, quiet, never);
    expect(result.failures).toHaveLength(1);
    expect(recorded[1]).toMatchObject({ location: { store: 's3', key: '' } });
  });

  it('records nothing of a store that nobody knows yet: the Secret with its settings is missing', async () => {
    const { parts, recorded } = saveWorld();
    const missing = new SnapshotError('not-found', 'no such Secret');
    const unknown = { open: () => Promise.reject(missing), location: () => undefined };
    const { failures, created } = await saveSnapshot({ ...parts, remote: unknown }, request, quiet, never);
    expect(failures).toEqual([missing]);
    expect(created).toHaveLength(1);
    expect(recorded).toEqual(created);
  });

  const away = new SnapshotError('unavailable', 'API server away');
  const empty = new SnapshotError('usage', 'token file is empty');
  const tokenHash = () => Promise.reject(empty);

  it('turns what went wrong with records and the token into warnings', async () => {
    const { parts } = saveWorld({ at: { record: failing(away) } });
    const result = await saveSnapshot({ ...parts, tokenHash }, request, quiet, never);
    expect(result.created).toHaveLength(2);
    expect(result.warnings).toEqual([empty, away, away]);
  });

  it('tells what went wrong with records and the token besides when the save fails', async () => {
    const { parts } = saveWorld({ learner: true, at: { record: failing(away) } });
    await expect(saveSnapshot({ ...parts, tokenHash }, request, quiet, never)).rejects.toMatchObject({
      code: 'learner',
      why: expect.stringContaining('it is a learner'),
      retryable: true,
      besides: [empty, away],
    });
  });
});
