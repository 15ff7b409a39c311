import { expect, it } from 'vitest';
import { exampleSnapshot } from '../../test/support/example-snapshots.ts';
import { fakeTimers } from '../../test/support/fake-clock.ts';
import { until } from '../../test/support/reflector-scene.ts';
import { startScriptedApi } from '../../test/support/scripted-api.ts';
import { toSnapshotFile } from '../crds/mapping.ts';
import { connect } from '../kube/client.ts';
import { watchRecords } from './record-view.ts';

const file = toSnapshotFile(exampleSnapshot('etcd-snapshot-n1-1', { nodeName: 'n1' }), 'k3s');

it('the records are fresh only while the watch goes on, also when they have been listed: a hold may have come since', async () => {
  await using api = await startScriptedApi();
  await using client = await connect(await api.kubeconfig());
  const stop = new AbortController();
  const timers = fakeTimers();
  const states: string[] = [];
  const { view, stopped } = watchRecords({
    client,
    program: 'k3s',
    timers,
    random: () => 0.5,
    onChange: () => {},
    onState: ({ synced, error }) => states.push(`${synced} ${error?.code}`),
    signal: stop.signal,
  });
  expect([view.synced, view.fresh]).toEqual([false, false]);
  (await api.requests.take()).reply(200, { metadata: { resourceVersion: '7' }, items: [file] });
  const watch = await api.requests.take();
  await until(() => expect([view.synced, view.fresh]).toEqual([true, true]));
  expect(view.at(file.spec.location)).toMatchObject([{ file: { spec: file.spec } }]);
  expect([...view.takenOn()]).toEqual(['n1']);
  watch.reply(500, {});
  await until(() => expect(states.at(-1)).toBe('true unavailable'));
  expect([view.synced, view.fresh]).toEqual([true, false]);
  stop.abort();
  await stopped;
});
