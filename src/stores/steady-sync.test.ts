import { describe, expect, it } from 'vitest';
import { SteadySync } from './steady-sync.ts';

const never = new AbortController().signal;

/** A file whose syncs end when they are told to. */
function disk() {
  const calls: { what: 'datasync' | 'sync'; end: (error?: Error) => void }[] = [];
  const call = (what: 'datasync' | 'sync') => () =>
    new Promise<void>((resolve, reject) => {
      calls.push({ what, end: (error) => (error === undefined ? resolve() : reject(error)) });
    });
  return { calls, file: { datasync: call('datasync'), sync: call('sync') } };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

describe('SteadySync', () => {
  it('syncs what was written whenever it is much, one sync at a time', async () => {
    const { calls, file } = disk();
    const sync = new SteadySync(file, 100);
    sync.wrote(99);
    expect(calls).toEqual([]);
    sync.wrote(1);
    sync.wrote(250);
    expect(calls.map(({ what }) => what)).toEqual(['datasync']);
    calls[0]?.end();
    await settled();
    sync.wrote(1);
    expect(calls).toHaveLength(2);
  });

  it('is finished when a sync that began after the last write has ended', async () => {
    const { calls, file } = disk();
    const sync = new SteadySync(file, 100);
    sync.wrote(100);
    let isFinished = false;
    const finished = sync.finish(never).then(() => {
      isFinished = true;
    });
    calls[0]?.end();
    await settled();
    expect(calls.map(({ what }) => what)).toEqual(['datasync', 'sync']);
    expect(isFinished).toBe(false);
    calls[1]?.end();
    await finished;
    expect(sync.busy).toBe(false);
  });

  it('never forgets what a sync said of a page that was lost: the disk says it once', async () => {
    const { calls, file } = disk();
    const lost = new Error('EIO');
    const sync = new SteadySync(file, 100);
    sync.wrote(100);
    calls[0]?.end(lost);
    await settled();
    expect(() => sync.wrote(1)).toThrow(lost);
    await expect(sync.finish(never)).rejects.toBe(lost);
  });

  it('fails when the last sync does', async () => {
    const { calls, file } = disk();
    const sync = new SteadySync(file, 100);
    const finished = sync.finish(never);
    await settled();
    calls[0]?.end(new Error('EIO'));
    await expect(finished).rejects.toThrow('EIO');
  });

  it.each(['the running sync', 'the last sync'])(
    'ends at once when the signal fires in %s',
    async (which) => {
      const { calls, file } = disk();
      const abort = new AbortController();
      const sync = new SteadySync(file, 100);
      sync.wrote(100);
      const finished = sync.finish(abort.signal);
      if (which === 'the last sync') calls[0]?.end();
      await settled();
      abort.abort();
      await expect(finished).rejects.toMatchObject({ code: 'aborted' });
      expect(sync.busy).toBe(true);
    },
  );
});
