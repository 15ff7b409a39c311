import { expect, it } from 'vitest';
import { exampleSnapshot } from '../../test/support/example-snapshots.ts';
import { fakeTimers } from '../../test/support/fake-clock.ts';
import type { Config } from '../config/types.ts';
import type { ETCDSnapshotFile } from '../crds/etcd-snapshot-file.ts';
import { toSnapshotFile } from '../crds/mapping.ts';
import { SnapshotError } from '../errors.ts';
import type { PatchOperation } from '../kube/snapshot-files-api.ts';
import { type LiftParts, liftAll, ourFinalizers } from './uninstall.ts';

const signal = new AbortController().signal;
const OURS = 'etcd.k3s.cattle.io/snapshot-storage';
const OF_RKE2 = 'etcd.rke2.cattle.io/snapshot-storage';
const OF_K3S = 'wrangler.cattle.io/managed-etcd-snapshots-controller';

/** Records by name, with the finalizers of each. @param again what puts them back meanwhile */
function cluster(records: Record<string, readonly string[]>, again: (name: string) => void = () => {}) {
  const file = (name: string): ETCDSnapshotFile => {
    const made = toSnapshotFile(exampleSnapshot(name), 'k3s');
    const metadata = {
      ...made.metadata,
      name,
      uid: name,
      resourceVersion: '1',
      finalizers: records[name] ?? [],
    };
    return { ...made, metadata };
  };
  const files: LiftParts['files'] = {
    get: async (name) => file(name),
    async *list() {
      for (const name of Object.keys(records)) yield file(name);
    },
    async patch(name: string, operations: readonly PatchOperation[]) {
      records[name] = operations.at(-1)?.value as string[];
      again(name);
      return file(name);
    },
  };
  return files;
}

async function lift(files: LiftParts['files'], distribution: Config['distribution']) {
  const timers = fakeTimers();
  const outcome = liftAll({ files, finalizers: ourFinalizers({ distribution } as Config), timers }, signal);
  const settled = Promise.allSettled([outcome]);
  // It rests before it looks again; a few more rounds do no harm.
  for (let round = 0; round < 10; round += 1) await timers.advance(1_000);
  await settled;
  return outcome;
}

it('takes off those of K3s and of RKE2, and nobody else’s', async () => {
  const records = { a: [OURS, 'example.com/theirs'], b: [OF_RKE2, OURS], c: ['example.com/theirs'] };
  expect(await lift(cluster(records), 'k3s')).toBe(2);
  expect(records).toEqual({ a: ['example.com/theirs'], b: [], c: ['example.com/theirs'] });
});

it.each([
  ['k3s', [OF_K3S]],
  ['rke2', [OF_K3S]],
  ['kubeadm', []],
  ['custom', []],
] as const)('leaves that of k3s to k3s where there is one: %s', async (distribution, left) => {
  const records = { a: [OF_K3S, OURS] };
  await lift(cluster(records), distribution);
  expect(records.a).toEqual(left);
});

it('says so when somebody puts one back', async () => {
  const records: Record<string, readonly string[]> = { a: [OURS] };
  const files = cluster(records, (name) => {
    records[name] = [OURS];
  });
  await expect(lift(files, 'k3s')).rejects.toMatchObject({
    code: 'busy',
    hint: expect.stringContaining('Stop'),
  });
});

it('without the definition of the records there is nothing to do', async () => {
  const files = cluster({});
  const list = () => {
    throw new SnapshotError('not-found', 'no such resource');
  };
  expect(await lift({ ...files, list }, 'k3s')).toBe(0);
});
