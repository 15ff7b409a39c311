import { expect, it } from 'vitest';
import { SnapshotError } from '../errors.ts';
import type { SnapshotSource, SnapshotStore, SnapshotUpload } from '../snapshot/ports.ts';
import { watchStreams, watchUploads } from './save-outcomes.ts';

const signal = new AbortController().signal;
const broken = new SnapshotError('unavailable', 'broken');

it.each(['status', 'open', 'stream'])(
  'a source that fails in its %s says so, to its user and beside',
  async (where) => {
    const failures: SnapshotError[] = [];
    const fail = (here: string) => {
      if (here === where) throw broken;
    };
    const source: SnapshotSource = {
      async status() {
        fail('status');
        return { endpoint: '', memberId: '1', leaderId: '1', isLearner: false, errors: [] };
      },
      async open() {
        fail('open');
        return {
          size: 1,
          async *[Symbol.asyncIterator]() {
            yield [new Uint8Array(1)];
            fail('stream');
          },
        };
      },
      close: () => undefined,
    };
    const watched = watchStreams(source, (error) => failures.push(error));
    const use = async () => {
      await watched.status(signal);
      for await (const batch of await watched.open(signal)) expect(batch).toHaveLength(1);
    };
    await expect(use()).rejects.toBe(broken);
    expect(failures).toEqual([broken]);
  },
);

async function upload(proven: Promise<number>, outcome: SnapshotError | undefined) {
  const told: (SnapshotError | undefined)[] = [];
  const store = {
    async put() {
      await Promise.allSettled([outcome === undefined ? proven : Promise.race([proven, Promise.resolve()])]);
      if (outcome !== undefined) throw outcome;
      return {};
    },
  } as unknown as SnapshotStore;
  const remote = watchUploads({ open: async () => store, location: () => undefined }, (error) =>
    told.push(error),
  );
  const bytes = { proven } as unknown as SnapshotUpload['bytes'];
  const put = (await remote.open(signal)).put({ bytes } as unknown as SnapshotUpload, signal);
  await Promise.allSettled([put]);
  return told;
}

it('an upload that succeeds or that S3 fails says so', async () => {
  expect(await upload(Promise.resolve(1), undefined)).toEqual([undefined]);
  const still = new Promise<number>(() => undefined);
  expect(await upload(still, broken)).toEqual([broken]);
});

it('an upload of a snapshot that never became whole says nothing of S3', async () => {
  expect(await upload(Promise.reject(broken), broken)).toEqual([]);
});
