import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, it, vi } from 'vitest';
import { cutOffAt, offlineNode as node } from '../../test/support/offline-node.ts';

/** Calls that change names; after that many this process counts as killed, and changes nothing any more. */
const power = vi.hoisted(() => ({ left: Number.POSITIVE_INFINITY }));
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  const spend = () => {
    power.left -= 1;
    if (power.left < 0) throw new Error('killed');
  };
  return {
    ...real,
    rename: async (...names: Parameters<typeof real.rename>) => {
      spend();
      return real.rename(...names);
    },
    link: async (...names: Parameters<typeof real.link>) => {
      spend();
      return real.link(...names);
    },
    rmdir: async (...names: Parameters<typeof real.rmdir>) => {
      spend();
      return real.rmdir(...names);
    },
    rm: async (...names: Parameters<typeof real.rm>) => {
      spend();
      return real.rm(...names);
    },
  };
});
afterEach(() => {
  power.left = Number.POSITIVE_INFINITY;
});

/** @returns whether it came to its end all the same */
async function killedAfter(calls: number, work: () => Promise<unknown>): Promise<boolean> {
  power.left = calls;
  const ended = await work().then(
    () => true,
    (error: unknown) => {
      expect(String(error)).toContain('killed');
      return false;
    },
  );
  power.left = Number.POSITIVE_INFINITY;
  return ended;
}

const both = ['etcd.yaml', 'kube-apiserver.yaml'];

it.each([['rejoin'], ['rollback']] as const)(
  'finds a rejoin of kubeadm that was killed anywhere while manifests are moved: %s',
  async (purpose) => {
    for (let calls = 0; ; calls += 1) {
      await using n = await node(true);
      await expect(n.run({}, { onStep: cutOffAt('stop') })).rejects.toThrow('cut off');
      if (await killedAfter(calls, () => n.run())) return;
      await n.run({ purpose });
      expect((await readdir(n.manifests)).sort(), `after ${calls}`).toEqual(both);
      const text = await readFile(join(n.manifests, 'etcd.yaml'), 'utf8');
      expect(text.includes('state=existing'), `after ${calls}`).toBe(purpose === 'rejoin');
      if (purpose === 'rejoin') continue;
      expect(text).toBe(n.pod);
      expect(await readdir(n.folder), `after ${calls}`).toEqual(['etcd', 'manifests']);
    }
  },
);

it('finds a rollback of kubeadm that was killed anywhere', async () => {
  for (let calls = 0; ; calls += 1) {
    await using n = await node(true);
    await n.run();
    if (await killedAfter(calls, () => n.run({ purpose: 'rollback' }))) return;
    await n.run({ purpose: 'rollback' }).catch((error: unknown) => {
      // Only the last call was left to be made, after that which removed the journal.
      expect(String(error)).toContain('There is no restore');
    });
    expect((await readdir(n.manifests)).sort(), `after ${calls}`).toEqual(both);
    expect(await readFile(join(n.manifests, 'etcd.yaml'), 'utf8')).toBe(n.pod);
    expect(await readdir(n.folder), `after ${calls}`).toEqual(['etcd', 'manifests']);
  }
});
