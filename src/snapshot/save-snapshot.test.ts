import { describe, expect, it } from 'vitest';
import { name, s3Location, saveWorld, whole } from '../../test/support/save-world.ts';
import { SnapshotError } from '../errors.ts';
import { type SaveProgress, saveSnapshot } from './save-snapshot.ts';

const request = { base: 'on-demand', nodeName: 'k3s-server-1' };
const never = new AbortController().signal;
const quiet = () => undefined;

describe('saveSnapshot', () => {
  it('locks, sweeps, proves, and only then commits, uploads and records both copies', async () => {
    const { parts, diary, recorded } = saveWorld();
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
    const { parts, diary, recorded } = saveWorld({ bytes });
    await expect(saveSnapshot(parts, request, quiet, never)).rejects.toMatchObject({ code: 'corrupt' });
    expect(diary).toEqual(['locked', 'swept', 'discarded', 'proof refused', 'closed', 'unlocked']);
    expect(recorded).toHaveLength(1);
    expect(recorded[0]).toMatchObject({ name, size: 0, location: { store: 'local', path: '' } });
    expect(recorded[0]?.failure?.message).toContain('damaged');
  });

  it('refuses a learner by name and takes nothing', async () => {
    const { parts, diary, recorded } = saveWorld({ learner: true });
    await expect(saveSnapshot(parts, request, quiet, never)).rejects.toMatchObject({
      code: 'learner',
      message: 'etcd member 2 at https://127.0.0.1:2379 cannot take a snapshot',
    });
    expect(diary).toEqual(['locked', 'swept', 'unlocked']);
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

  it('keeps the local copy when the upload fails, and records the failure under its real location', async () => {
    const putFails = new SnapshotError('unavailable', 'S3 said 503', { why: 'SlowDown' });
    const { parts, recorded } = saveWorld({ putFails });
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
    const { parts, recorded } = saveWorld({ commitFails });
    const result = await saveSnapshot(parts, request, quiet, never);
    expect(result.created.map((one) => one.location.store)).toEqual(['s3']);
    expect(result.failures).toEqual([commitFails]);
    expect(recorded.map((record) => record.failure?.message)).toEqual([
      'no room for the last page',
      undefined,
    ]);
  });

  it('records an S3 client that could not be made without a location', async () => {
    const { parts, recorded } = saveWorld({
      openFails: new SnapshotError('tls', 'no certificate in the CA file'),
    });
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

  it('turns what went wrong with records and the token into warnings', async () => {
    const { parts } = saveWorld();
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
    const { parts, recorded } = saveWorld({ putFails: new SnapshotError('aborted', 'Interrupted') });
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
      message: 'Interrupted during the upload to S3',
      why: `whole for certain: file:///snapshots/${name}`,
    });
    expect(recorded).toEqual([]);
  });

  it.each([
    { what: 'while the records are made: says which copies are whole', done: false },
    { what: 'when everything is done: a success all the same', done: true },
  ])('is interrupted $what', async ({ done }) => {
    const { parts } = saveWorld();
    const interrupt = new AbortController();
    const record = async () => {
      interrupt.abort();
      if (!done) throw new SnapshotError('aborted', 'Interrupted');
    };
    const recorder = { facts: async () => ({}), record };
    const save = saveSnapshot({ ...parts, recorder }, request, quiet, interrupt.signal);
    if (done) expect((await save).created).toHaveLength(2);
    else {
      await expect(save).rejects.toMatchObject({
        code: 'aborted',
        message: 'Interrupted while the records were made',
        why: `whole for certain: file:///snapshots/${name}, s3://b/${name}`,
      });
    }
  });
});
