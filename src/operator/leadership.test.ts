import { expect, it } from 'vitest';
import { FakeLeases } from '../../test/support/election.ts';
import { fakeTimers } from '../../test/support/fake-clock.ts';
import type { KubeRequest } from '../kube/api-request.ts';
import type { KubeClient } from '../kube/client.ts';
import type { LeaseState } from '../kube/leader-lease.ts';
import { takePartInElection } from './leadership.ts';

function start(
  onState: (state: LeaseState) => void = () => {},
  workEnded: Promise<void> = Promise.resolve(),
) {
  const timers = fakeTimers();
  const leases = new FakeLeases();
  const stop = new AbortController();
  const client = { request: async (request: KubeRequest) => leases.answer(request) };
  const terms: (AbortSignal | undefined)[] = [];
  const leadership = takePartInElection({
    client: client as unknown as KubeClient,
    nodeName: 'n1',
    timers,
    random: () => 0,
    durationMs: undefined,
    logger: { info: () => {} },
    onGained: () => terms.push(leadership.current()),
    onState,
    signal: stop.signal,
    workEnded,
  });
  return { timers, leases, stop, leadership, terms };
}

it('a term that is over before its work has begun is over, and it stands for election again and ends', async () => {
  let jumps = 1;
  const scene = start(({ leading }) => {
    if (!leading || jumps === 0) return;
    jumps -= 1;
    // The machine was suspended right after it got the Lease.
    scene.timers.setClock(new Date(scene.timers.now().getTime() + 3_600_000));
  });
  for (let i = 0; i < 300; i += 1) await scene.timers.advance(100);
  expect(jumps).toBe(0);
  expect(scene.leadership.current()).toBeDefined();
  scene.stop.abort();
  let stopped = false;
  void scene.leadership.stopped.then(() => {
    stopped = true;
  });
  for (let i = 0; i < 300; i += 1) await scene.timers.advance(100);
  expect(stopped).toBe(true);
  expect(scene.leases.lease?.spec?.holderIdentity).toBe('');
});

it('does not lead any more after it was frozen, before any timer could tell it so', async () => {
  const { timers, leadership, terms, stop } = start();
  await timers.advance(100);
  expect(terms[0]?.aborted).toBe(false);
  expect(leadership.current()).toBe(terms[0]);
  timers.freeze(20_000);
  expect(terms[0]?.aborted).toBe(false);
  expect(leadership.current()).toBeUndefined();
  expect(() => leadership.assert()).toThrowError(/not looked after by this operator/);
  stop.abort();
  for (let i = 0; i < 100; i += 1) await timers.advance(100);
  await leadership.stopped;
});

it('gives the Lease back when its work has ended, and not before', async () => {
  const work = Promise.withResolvers<void>();
  const { timers, leases, leadership, stop } = start(undefined, work.promise);
  await timers.advance(100);
  expect(leadership.current()).toBeDefined();
  stop.abort();
  for (let i = 0; i < 100; i += 1) await timers.advance(100);
  expect(leadership.current()).toBeUndefined();
  expect(leases.lease?.spec?.holderIdentity).toBe('n1_0');
  work.resolve();
  for (let i = 0; i < 10; i += 1) await timers.advance(100);
  await leadership.stopped;
  expect(leases.lease?.spec?.holderIdentity).toBe('');
});
