import { createHash } from 'node:crypto';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { SnapshotStore } from '../../src/snapshot/ports.ts';
import { type SaveParts, saveSnapshot } from '../../src/snapshot/save-snapshot.ts';
import { createS3Store } from '../../src/stores/s3-store.ts';
import { MIB, someBytes } from '../support/growing-bytes.ts';
import { until } from '../support/s3-looks.ts';
import { startScriptedS3 } from '../support/scripted-s3.ts';
import { emptyFolder } from '../support/snapshot-folder.ts';

const never = new AbortController().signal;
const now = new Date('2024-10-30T17:20:16Z');
const name = 'on-demand-node-1-1730308816';

function sourceOf(bytes: Buffer): SaveParts['source'] {
  return {
    status: async () => ({
      endpoint: 'https://127.0.0.1:2379',
      memberId: '2',
      leaderId: '2',
      isLearner: false,
      errors: [],
    }),
    open: async () => ({
      size: bytes.length,
      async *[Symbol.asyncIterator]() {
        yield [bytes];
      },
    }),
    close: () => undefined,
  };
}

it('a proven snapshot whose file cannot have its name is still uploaded, and that copy counts', async () => {
  const database = someBytes(2 * MIB);
  const bytes = Buffer.concat([database, createHash('sha256').update(database).digest()]);
  await using place = await emptyFolder();
  await using s3 = await startScriptedS3();
  const options = { program: 'k3s', nodeName: 'node-1', partSize: MIB } as const;
  const store = createS3Store(s3.settings, options);
  const late: SnapshotStore = {
    ...store,
    sweep: async () => [],
    async put(upload, signal) {
      // An upload that has not read a byte when the file on disk has failed and is gone.
      await upload.bytes.proven;
      await until(async () => (await readdir(place.dir)).every((file) => !file.endsWith('.part')));
      return store.put(upload, signal);
    },
  };
  const { created, failures } = await saveSnapshot(
    {
      source: sourceOf(bytes),
      folder: {
        ...place.store,
        async create(snapshot) {
          const draft = await place.store.create(snapshot);
          await writeFile(join(place.dir, name), 'made by somebody else meanwhile');
          return draft;
        },
      },
      remote: {
        open: async () => late,
        location: () => {
          throw new Error('nothing failed on S3');
        },
      },
      recorder: undefined,
      tokenHash: async () => undefined,
      compress: undefined,
      clock: { now: () => now },
    },
    { base: 'on-demand', nodeName: 'node-1' },
    () => undefined,
    never,
  );
  expect(failures).toMatchObject([{ code: 'exists' }]);
  expect(created.map(({ location }) => location.store)).toEqual(['s3']);
  expect(s3.objects.get(name)?.equals(bytes)).toBe(true);
});
