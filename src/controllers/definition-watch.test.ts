import { afterEach, beforeEach, expect, it } from 'vitest';
import { fakeTimers } from '../../test/support/fake-clock.ts';
import { until } from '../../test/support/reflector-scene.ts';
import { type ScriptedApi, startScriptedApi } from '../../test/support/scripted-api.ts';
import { event } from '../../test/support/things.ts';
import { connect } from '../kube/client.ts';
import { watchDefinition } from './definition-watch.ts';

const NAME = 'etcdsnapshotfiles.k3s.cattle.io';
const definition = (resourceVersion: string, deletionTimestamp?: string) => ({
  metadata: {
    name: NAME,
    resourceVersion,
    ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }),
  },
});
const going = (resourceVersion: string) => definition(resourceVersion, '2026-03-01T00:00:00Z');

let api: ScriptedApi;
beforeEach(async () => {
  api = await startScriptedApi();
});
afterEach(() => api[Symbol.asyncDispose]());

/** A watch, what it told, and how often the definition came back. */
async function start() {
  const client = await connect(await api.kubeconfig());
  const stop = new AbortController();
  const told: string[] = [];
  const watch = watchDefinition({
    client,
    timers: fakeTimers(),
    random: () => 0.5,
    onState: (error) => told.push(error?.why ?? error?.message ?? 'there'),
    onBack: () => told.push('back'),
    signal: stop.signal,
  });
  return {
    watch,
    told,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await watch.stopped;
      await client[Symbol.asyncDispose]();
    },
  };
}

it('tells by name that the definition is being deleted, is gone, and is back', async () => {
  await using scene = await start();
  const listing = await api.requests.take();
  expect(listing.query).toMatchObject({ fieldSelector: `metadata.name=${NAME}` });
  listing.reply(200, { metadata: { resourceVersion: '7' }, items: [definition('5')] });
  const watch = await api.requests.take();
  watch.open();
  await until(() => expect(scene.told.at(-1)).toBe('there'));
  expect(scene.watch.definitionIsGoing()).toBe(false);

  watch.send(event('MODIFIED', going('8')));
  await until(() => expect(scene.told.at(-1)).toMatch(/is being deleted$/));
  expect(scene.watch.definitionIsGoing()).toBe(true);
  watch.send(event('DELETED', going('9')));
  await until(() => expect(scene.told.at(-1)).toMatch(/^There is no CustomResourceDefinition/));
  expect(scene.told).not.toContain('back');

  watch.send(event('ADDED', definition('10')));
  await until(() => expect(scene.told.at(-1)).toBe('back'));
  expect(scene.watch.definitionIsGoing()).toBe(false);
});

it('keeps what it knows while the API server is away, and says when it must not look', async () => {
  await using scene = await start();
  (await api.requests.take()).reply(200, { metadata: { resourceVersion: '7' }, items: [going('5')] });
  (await api.requests.take()).reply(500, {});
  await until(() => expect(scene.told.at(-1)).toMatch(/is being deleted$/));
  expect(scene.watch.definitionIsGoing()).toBe(true);

  await using other = await start();
  const refusal = { kind: 'Status', reason: 'Forbidden', message: 'not for you' };
  (await api.requests.take()).reply(403, refusal);
  await until(() => expect(other.told).toEqual(['not for you']));
  expect(other.watch.definitionIsGoing()).toBe(false);
});
