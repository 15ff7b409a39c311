import { describe, expect, it } from 'vitest';
import { name, type SaveWorldOptions, saveWorld } from '../../test/support/save-world.ts';
import { abortError, SnapshotError } from '../errors.ts';
import { saveSnapshot } from './save-snapshot.ts';

const file = `file:///snapshots/${name}`;
const object = `s3://b/${name}`;
const request = { base: 'on-demand', nodeName: 'k3s-server-1' };

/** A save that gets its signal at a step, which fails of it. */
async function interruptedAt(
  step: keyof NonNullable<SaveWorldOptions['at']>,
  options: SaveWorldOptions & { readonly local?: true; readonly recorder?: false; readonly late?: true } = {},
) {
  const interrupt = new AbortController();
  const stop = new SnapshotError('aborted', 'Interrupted', { why: 'received SIGINT' });
  const at = {
    ...options.at,
    [step]: () => {
      interrupt.abort(stop);
      if (options.late !== true) throw stop;
    },
  };
  const world = saveWorld({ ...options, at });
  const parts = {
    ...world.parts,
    ...(options.local === true ? { remote: undefined } : {}),
    ...(options.recorder === false ? { recorder: undefined } : {}),
  };
  const end = await saveSnapshot(parts, request, () => undefined, interrupt.signal).then(
    (result) => result,
    (error: unknown) => error,
  );
  return { ...world, end, stop };
}

describe('an interrupted save', () => {
  it.each(['status', 'batch', 'commit'] as const)(
    'to disk alone, at %s, says nothing of S3',
    async (step) => {
      const { end, stop, recorded } = await interruptedAt(step, { local: true });
      expect(end).toBe(stop);
      expect(recorded).toEqual([]);
    },
  );

  it.each(['facts of the cluster', 'token', 'disk'] as const)(
    'does not wait for the %s, whatever it is doing',
    async (what) => {
      const interrupt = new AbortController();
      const proven = Promise.withResolvers<void>();
      const commit = (signal: AbortSignal) =>
        new Promise<void>((resolve, reject) => {
          signal.addEventListener('abort', () => reject(abortError(signal)));
          proven.resolve();
          if (what !== 'disk') resolve();
        });
      const { parts } = saveWorld({ at: { commit } });
      const hang = () => {
        proven.resolve();
        return new Promise<never>(() => undefined);
      };
      const save = saveSnapshot(
        {
          ...parts,
          remote: undefined,
          tokenHash: what === 'token' ? hang : parts.tokenHash,
          recorder: what === 'facts of the cluster' ? { facts: hang, record: hang } : parts.recorder,
        },
        request,
        () => undefined,
        interrupt.signal,
      );
      await proven.promise;
      interrupt.abort();
      await expect(save).rejects.toMatchObject({ code: 'aborted', message: 'Interrupted' });
    },
  );

  it('of which nothing stands yet tells no copies', async () => {
    const { end, stop, recorded, diary } = await interruptedAt('batch');
    expect(end).toBe(stop);
    expect(recorded).toEqual([]);
    expect(diary).toContain('upload ended');
  });

  it('names the copy on disk when the upload has not ended', async () => {
    const { end } = await interruptedAt('upload');
    expect(end).toMatchObject({
      code: 'aborted',
      message: 'Interrupted during the upload to S3',
      why: expect.stringContaining(file),
      hint: 'Run the command again to have a snapshot on S3 too.',
    });
    expect(end).not.toMatchObject({ why: expect.stringContaining('s3://') });
  });

  it('names the copy on S3 when the file has not got its name', async () => {
    const stored = Promise.withResolvers<void>();
    const interrupt = new AbortController();
    const stop = new SnapshotError('aborted', 'Interrupted');
    const { parts, recorded } = saveWorld({
      at: {
        upload: () => stored.resolve(),
        commit: async () => {
          await stored.promise;
          interrupt.abort(stop);
          throw stop;
        },
      },
    });
    const save = saveSnapshot(parts, request, () => undefined, interrupt.signal);
    await expect(save).rejects.toMatchObject({
      code: 'aborted',
      message: 'Interrupted before the file on disk was finished',
      why: `whole for certain: ${object} (without a record)`,
      hint: 'Run the command again to have a snapshot on disk too.',
    });
    expect(recorded).toEqual([]);
  });

  it('names both copies when the signal comes after them, and that they have no record', async () => {
    const { end } = await interruptedAt('record');
    expect(end).toMatchObject({
      code: 'aborted',
      message: 'Interrupted while the records were made',
      why: `whole for certain: ${file} (without a record), ${object} (without a record)`,
    });
  });

  it('names both copies when only what belongs beside the object is missing', async () => {
    const warnings = [new SnapshotError('aborted', 'Interrupted')];
    const { end } = await interruptedAt('upload', { warnings, late: true, recorder: false });
    expect(end).toMatchObject({
      code: 'aborted',
      message: 'Interrupted before everything was written that belongs beside the snapshot',
      why: `whole for certain: ${file}, ${object}`,
    });
  });

  it('tells what else did not work', async () => {
    const noRights = new SnapshotError('io', 'Cannot tidy up /snapshots');
    const at = {
      sweep: () => {
        throw noRights;
      },
    };
    expect((await interruptedAt('upload', { at })).end).toMatchObject({ besides: [noRights] });
    expect((await interruptedAt('commit', { at, local: true })).end).toMatchObject({
      code: 'aborted',
      message: 'Interrupted',
      besides: [noRights],
    });
  });

  it.each(['sweep s3', 'close'] as const)('of which only %s is left is a success', async (step) => {
    const { end } = await interruptedAt(step);
    expect(end).toMatchObject({ created: [{ location: { store: 'local' } }, { location: { store: 's3' } }] });
    expect(end).toMatchObject({ failures: [], warnings: [] });
  });
});
