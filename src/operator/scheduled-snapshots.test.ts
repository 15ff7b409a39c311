import { expect, it } from 'vitest';
import { exampleSnapshot } from '../../test/support/example-snapshots.ts';
import { fakeTimers } from '../../test/support/fake-clock.ts';
import { toSnapshotFile } from '../crds/mapping.ts';
import { parseSchedule } from '../snapshot/schedule.ts';
import { runScheduledSnapshots, type ScheduleParts } from './scheduled-snapshots.ts';

it('never deletes what its run has just made, though the clock was ahead before and it seems the oldest', async () => {
  const timers = fakeTimers('2024-10-30T17:20:16Z');
  const [older, made, newer] = [8_800, 8_817, 8_900].map((at) =>
    exampleSnapshot(`etcd-snapshot-n1-173030${at}`),
  );
  if (older === undefined || made === undefined || newer === undefined) throw new Error('three are made');
  const removed: string[] = [];
  const pruned = Promise.withResolvers<void>();
  const all = [older, made, newer];
  const records = all.map((one) => ({ file: toSnapshotFile(one, 'k3s'), applied: false, seenAt: 0 }));
  const stop = new AbortController();
  const nothing = () => {};
  const running = runScheduledSnapshots(
    {
      program: 'k3s',
      config: { snapshotName: 'etcd-snapshot', nodeName: 'n1', s3: { kind: 'off' } },
      settings: { schedule: parseSchedule('@every 1s'), retention: 1 },
      saver: { save: async () => ({ created: [made], failures: [], warnings: [] }) },
      folder: {
        kind: 'local',
        list: async () => all,
        stat: async (name: string) => all.find((one) => one.name === name),
        remove: async (name: string) => removed.push(name) > 0,
      },
      place: { store: 'local', dir: '/snapshots' },
      records: { synced: true, fresh: true, keptBy: () => records },
      reread: async (name: string) => records.find(({ file }) => file.metadata.name === name)?.file,
      writer: { release: async () => true },
      events: { emit: nothing },
      metrics: { succeeded: nothing, nextRun: nothing },
      logger: { info: nothing, warn: nothing, error: nothing },
      timers: { ...timers, now: () => new Date((1_730_308_900 + 10) * 1_000) },
      random: () => 0,
      jitterMs: 0,
      recordsKnown: Promise.resolve(),
      onState: nothing,
      onDeleted: nothing,
      onDeletionFailed: nothing,
      onPruned: () => pruned.resolve(),
    } as unknown as ScheduleParts,
    stop.signal,
    stop.signal,
  );
  for (let i = 0; i < 5; i += 1) await timers.advance(1_000);
  stop.abort();
  await running;
  await pruned.promise;
  expect(new Set(removed)).toEqual(new Set([older.name]));
});
