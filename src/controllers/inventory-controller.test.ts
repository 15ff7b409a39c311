import { expect, it } from 'vitest';
import { fakeTimers } from '../../test/support/fake-clock.ts';
import { SnapshotError } from '../errors.ts';
import type { S3Ready, S3View } from '../reconcilers/ports.ts';
import { createInventoryController } from './inventory-controller.ts';

/** Settings of S3 whose looks end when they are told to; nothing else is looked at. */
function start({ leads = true, intervalMs = 600_000 } = {}) {
  const probed: S3Ready[] = [];
  let probeError: SnapshotError | undefined;
  const asked: number[] = [];
  const atFolder: number[] = [];
  let etcdError: SnapshotError | undefined;
  let paused = false;
  let changed = false;
  const annotated: string[] = [];
  let annotateError: SnapshotError | undefined;
  const timers = fakeTimers(new Date('2026-03-01T00:30:00Z'));
  const stop = new AbortController();
  const looked: { readonly view: S3Ready; readonly signal: AbortSignal; end(error?: SnapshotError): void }[] =
    [];
  const outcomes: (string | undefined)[] = [];
  let view: S3View = { state: 'off' };
  let over = new AbortController();
  const controller = createInventoryController({
    async local() {
      atFolder.push(timers.monotonic());
      return changed;
    },
    s3: (asked, signal) => {
      const { promise, resolve, reject } = Promise.withResolvers<boolean>();
      signal.addEventListener('abort', () => reject(signal.reason));
      const end = (error?: SnapshotError) => (error === undefined ? resolve(false) : reject(error));
      looked.push({ view: asked, signal, end });
      return promise;
    },
    s3View: () => view,
    isPaused: () => paused,
    s3Probe: async (asked) => {
      probed.push(asked);
      if (probeError !== undefined) throw probeError;
    },
    etcd: async () => {
      asked.push(timers.monotonic());
      if (etcdError !== undefined) throw etcdError;
    },
    departed: async () => {},
    leftovers: async () => {},
    leading: () => (leads ? new AbortController().signal : undefined),
    async annotate(store) {
      if (annotateError !== undefined) throw annotateError;
      annotated.push(store);
    },
    onAnnotated: (_, error) => error !== undefined && annotated.push(error.message),
    observe: () => {},
    onOutcome: (_, error) => outcomes.push(error?.message),
    intervalMs,
    timers,
    random: () => 0.5,
  });
  const running = controller.run(stop.signal);
  return {
    timers,
    looked,
    probed,
    outcomes,
    controller,
    annotated,
    /** Whether looks at the folder write, and what writing to the node ends with. */
    local(writes: boolean, error?: SnapshotError) {
      changed = writes;
      annotateError = error;
    },
    pause(now: boolean) {
      paused = now;
    },
    /** Times at which etcd was looked at. */
    asked,
    /** The same of the folder. */
    atFolder,
    failEtcd(error: SnapshotError | undefined) {
      etcdError = error;
    },
    failProbes(error: SnapshotError | undefined) {
      probeError = error;
    },
    /** Puts other settings in force, as the operator does. */
    change(retention: number) {
      const before = over;
      over = new AbortController();
      view = { state: 'ready', retention, outdated: over.signal } as unknown as S3Ready;
      before.abort(new SnapshotError('aborted', 'changed'));
      controller.look('s3');
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
    },
  };
}

it('a look that hangs with settings of S3 that have changed is cut short, and does not hold up the next one', async () => {
  await using scene = start();
  scene.change(1);
  await scene.timers.advance(0);
  scene.change(2);
  await scene.timers.advance(0);
  expect(scene.looked.map(({ view }) => view.retention)).toEqual([1, 2]);
  expect(scene.looked[0]?.signal.aborted).toBe(true);
  expect(scene.outcomes).toEqual([]);
  scene.looked[1]?.end();
  await scene.timers.advance(0);
  expect(scene.outcomes).toEqual([undefined]);
});

it.each([undefined, new SnapshotError('forbidden', 'refused with the old key')])(
  'how a look with settings of S3 that have changed meanwhile ends says nothing of the new ones: %s',
  async (error) => {
    await using scene = start();
    scene.change(1);
    await scene.timers.advance(0);
    scene.looked[0]?.end(error);
    scene.change(2);
    await scene.timers.advance(0);
    expect(scene.outcomes).toEqual([]);
    scene.looked[1]?.end(new SnapshotError('forbidden', 'refused with the new key'));
    await scene.timers.advance(0);
    expect(scene.outcomes).toEqual(['refused with the new key']);
  },
);

it('nothing that has records is looked at while none must be written, nor is it said how a look fared that ran then', async () => {
  await using scene = start();
  scene.change(1);
  await scene.timers.advance(0);
  scene.pause(true);
  scene.looked[0]?.end(new SnapshotError('unavailable', 'the definition is being deleted'));
  await scene.timers.advance(0);
  for (const look of ['local', 's3', 'departed'] as const) scene.controller.look(look);
  await scene.timers.advance(600_000);
  expect([scene.looked.length, scene.outcomes]).toEqual([1, []]);
  scene.controller.look('etcd');
  await scene.timers.advance(0);
  expect(scene.outcomes).toEqual([undefined]);
  scene.pause(false);
  scene.controller.look('s3');
  await scene.timers.advance(0);
  expect(scene.looked).toHaveLength(2);
});

it('one that does not lead asks S3 once, until it answers, and says nothing of what it has not asked', async () => {
  await using scene = start({ leads: false });
  scene.failProbes(new SnapshotError('not-found', 'no such bucket', { retryable: true }));
  scene.change(1);
  await scene.timers.advance(0);
  expect(scene.outcomes).toEqual(['no such bucket']);
  scene.failProbes(undefined);
  await scene.timers.advance(600_000);
  expect(scene.outcomes.at(-1)).toBeUndefined();
  const asked = scene.probed.length;
  await scene.timers.advance(3 * 600_000);
  expect(scene.probed).toHaveLength(asked);
  expect(scene.outcomes.filter((outcome) => outcome === undefined)).toHaveLength(1);

  scene.controller.doubtS3();
  await scene.timers.advance(5_000);
  expect(scene.probed).toHaveLength(asked + 1);
  scene.change(2);
  await scene.timers.advance(0);
  expect(scene.probed).toHaveLength(asked + 2);
  expect(scene.looked).toEqual([]);
});

it('looks at folder and S3 again after the interval though nothing tells of a change: the net below the watches', async () => {
  await using scene = start({ intervalMs: 10_000 });
  scene.controller.look('local');
  scene.change(1);
  for (const _ of [1, 2, 3]) {
    await scene.timers.advance(0);
    scene.looked.at(-1)?.end();
    await scene.timers.advance(10_000);
  }
  expect(scene.atFolder).toEqual([0, 10_000, 20_000, 30_000]);
  expect(scene.looked).toHaveLength(4);
});

it('looks again after the interval, also when only a change could cure what failed: nobody may tell of it', async () => {
  await using scene = start({ intervalMs: 10_000 });
  scene.controller.look('etcd');
  await scene.timers.advance(29_999);
  expect(scene.asked).toEqual([0, 10_000, 20_000]);
  scene.failEtcd(new SnapshotError('usage', 'hopeless'));
  await scene.timers.advance(20_001);
  expect(scene.asked.slice(3)).toEqual([30_000, 40_000, 50_000]);
});

it('notes on the node the first look and those that wrote something, and no other', async () => {
  await using scene = start();
  const look = async () => {
    scene.controller.look('local');
    await scene.timers.advance(60_000);
  };
  await look();
  await look();
  expect(scene.annotated).toEqual(['local']);
  scene.local(true);
  await look();
  expect(scene.annotated).toEqual(['local', 'local']);
});

it('a node that must not be written to is told as such, tried again, and no failure of the look', async () => {
  await using scene = start();
  scene.local(false, new SnapshotError('forbidden', 'no such right'));
  scene.controller.look('local');
  await scene.timers.advance(0);
  expect([scene.annotated, scene.outcomes]).toEqual([['no such right'], [undefined]]);
  scene.local(false);
  scene.controller.look('local');
  await scene.timers.advance(0);
  expect(scene.annotated).toEqual(['no such right', 'local']);
});
