import { expect, it } from 'vitest';
import { exampleSnapshot } from '../../test/support/example-snapshots.ts';
import { toSnapshotFile } from '../crds/mapping.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import type { Found } from './inventory.ts';
import { createLocalInventory, type LocalInventoryParts } from './local-inventory.ts';

const never = new AbortController().signal;

/** Looks at a folder once, and tells what was found, and whether k3s's old ConfigMap was asked. */
async function look(files: readonly Snapshot[], recorded: readonly Snapshot[] = []) {
  let found: readonly Snapshot[] = [];
  let asked = false;
  const run = createLocalInventory({
    nodeName: 'n1',
    folder: { list: async () => files },
    place: { store: 'local', dir: '/snapshots' },
    records: {
      keptBy: () => recorded.map((one) => ({ file: toSnapshotFile(one, 'k3s'), applied: false, seenAt: 0 })),
    },
    inventory: {
      monotonic: () => 0,
      async reconcile({ snapshots }: Found) {
        found = snapshots;
        return 0;
      },
    },
    async legacyMetadata() {
      asked = true;
      return new Map([
        ['local-plain-n1-1730308816', { team: 'a' }],
        ['local-before_after-n1-1730308816', { team: 'b' }],
      ]);
    },
    onSnapshots: () => {},
  } as unknown as LocalInventoryParts);
  await run(never);
  return { metadata: found.map(({ metadata }) => metadata), asked };
}

it('what k3s noted of a new file in its old ConfigMap is adopted, under the key that k3s gives it', async () => {
  const files = ['plain-n1-1730308816', 'before+after-n1-1730308816', 'other-n1-1730308816'];
  const { metadata } = await look(files.map((name) => exampleSnapshot(name)));
  expect(metadata).toEqual([{ team: 'a' }, { team: 'b' }, undefined]);
});

it('a file that says itself what is to be known, or has a record, asks for nothing', async () => {
  const own = exampleSnapshot('plain-n1-1730308816', { metadata: { team: 'own' } });
  const bare = exampleSnapshot('before+after-n1-1730308816');
  expect(await look([own, bare], [{ ...bare, metadata: { team: 'recorded' } }])).toEqual({
    metadata: [{ team: 'own' }, { team: 'recorded' }],
    asked: false,
  });
});
