import { hostname } from 'node:os';
import { describe, expect, it, vi } from 'vitest';
import { fakeTimers } from '../../test/support/fake-clock.ts';
import { emptyFolder } from '../../test/support/snapshot-folder.ts';
import { parseFlags } from '../config/flags.ts';
import { resolveConfig } from '../config/resolve.ts';
import { createSaver } from './saver.ts';

/** Where no etcd listens. */
const NOBODY = 'http://127.0.0.1:1';
const never = new AbortController().signal;

describe('a saver', () => {
  it('does not tidy up while a save is about to take the folder, which would be refused then', async () => {
    await using home = await emptyFolder();
    const flags = parseFlags(['operator', `--dir=${home.dir}`, `--etcd-servers=${NOBODY}`]);
    const around = { env: {}, hostname: hostname(), cwd: home.dir, exists: () => false };
    const mayLock = Promise.withResolvers<void>();
    const lock = vi.fn(async (signal: AbortSignal) => {
      await mayLock.promise;
      return home.store.lock(signal);
    });
    const saver = createSaver({
      config: resolveConfig('operator', flags, around),
      folder: { ...home.store, lock },
      recorder: { facts: async () => ({}), record: async () => {} },
      s3View: () => ({ state: 'off' }),
      timers: fakeTimers(),
      observe: () => {},
      onStreamed: () => {},
      onUploaded: () => {},
      logger: { warn: () => {} },
    });
    const saved = expect(saver.save(never)).rejects.toMatchObject({ code: 'unavailable' });
    await vi.waitFor(() => expect(lock).toHaveBeenCalledTimes(1));
    const tidied = saver.tidyUp(never);
    mayLock.resolve();
    expect(await tidied).toEqual([]);
    await saved;
    expect(lock).toHaveBeenCalledTimes(1);
    await saver.tidyUp(never);
    expect(lock).toHaveBeenCalledTimes(2);
  });
});
