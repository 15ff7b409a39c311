import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createElection, type Network, untilAborted } from '../../test/support/election.ts';
import type { LeaseObject } from './lease-object.ts';

const SECOND = 1000;

let { leases, contend, pass, leaders, holder, end } = createElection();

beforeEach(() => {
  ({ leases, contend, pass, leaders, holder, end } = createElection());
});

afterEach(() => end());

describe('the first candidate', () => {
  it('makes the Lease and leads at once', async () => {
    const a = contend('a');
    await pass(100);
    expect(a.lease.isLeading()).toBe(true);
    expect(leases.lease).toEqual({
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name: 'x', namespace: 'kube-system', resourceVersion: '1' },
      spec: {
        holderIdentity: 'a_0',
        leaseDurationSeconds: 15,
        acquireTime: '2024-10-30T17:20:16.000001Z',
        renewTime: '2024-10-30T17:20:16.000001Z',
        leaseTransitions: 0,
      },
    });
    expect(a.states).toEqual([{ leading: true, holder: 'a_0', error: undefined }]);
  });

  it('renews every five seconds, and says nothing about it', async () => {
    const a = contend('a');
    await pass(300 * SECOND);
    expect(a.terms).toHaveLength(1);
    expect(a.terms[0]?.aborted).toBe(false);
    expect(a.states).toHaveLength(1);
    expect(leases.requests.length).toBeLessThanOrEqual(62);
    expect(leases.lease?.spec).toMatchObject({ leaseTransitions: 0 });
  });

  it('renews visibly even when its clock on the wall stands still', async () => {
    const a = contend('a');
    await pass(100);
    const before = leases.lease?.spec?.renewTime;
    a.timers.setClock(new Date('2024-10-30T17:20:16Z'));
    for (let i = 0; i < 60; i += 1) {
      await pass(100);
      a.timers.setClock(new Date('2024-10-30T17:20:16Z'));
    }
    expect(leases.lease?.spec?.renewTime).not.toBe(before);
  });
});

describe('a leader', () => {
  it('that was frozen knows that it lost before it does anything else', async () => {
    const a = contend('a');
    await pass(100);
    const b = contend('b');
    await pass(6 * SECOND);
    await pass(30 * SECOND, a);
    expect(a.lease.isLeading()).toBe(false);
    expect(a.terms[0]?.aborted).toBe(false);
    expect(leaders()).toEqual([b]);
    await pass(100);
    expect(a.terms[0]?.aborted).toBe(true);
    await pass(60 * SECOND);
    expect(leaders()).toEqual([b]);
    expect(a.terms).toHaveLength(1);
  });

  it('is in doubt when only the clock on the wall has gone on, as after a suspend', async () => {
    const a = contend('a');
    await pass(6 * SECOND);
    a.timers.setClock(new Date('2024-10-30T18:20:16Z'));
    expect(a.lease.isLeading()).toBe(false);
    await pass(6 * SECOND);
    expect(a.terms[0]?.aborted).toBe(true);
    await pass(5 * SECOND);
    expect(leaders()).toEqual([a]);
  });

  it('leads on when a call fails, or gets no answer, and the next one works', async () => {
    const a = contend('a');
    await pass(4 * SECOND);
    for (const network of ['away', 'deaf', 'silent', 'forbidden'] as const) {
      a.network = network;
      await pass(4 * SECOND);
      a.network = 'fine';
      await pass(8 * SECOND);
    }
    expect(a.terms).toHaveLength(1);
    expect(leaders()).toEqual([a]);
    expect(a.states.at(-1)?.error).toBeUndefined();
  });

  it.each<Network>(['away', 'deaf', 'silent', 'forbidden', { slowMs: 11 * SECOND }])(
    'stops at its deadline behind a network that is %j, even while a call hangs',
    async (network) => {
      const a = contend('a');
      await pass(5 * SECOND - 200);
      a.network = network;
      await pass(5 * SECOND);
      expect(a.lease.isLeading()).toBe(true);
      await pass(400);
      expect(a.lease.isLeading()).toBe(false);
      expect(a.terms[0]?.aborted).toBe(true);
    },
  );

  it('counts from before it asked, however late the answer', async () => {
    const a = contend('a');
    await pass(4 * SECOND);
    a.network = { slowMs: 2 * SECOND };
    await pass(2 * SECOND);
    a.network = 'away';
    await pass(8 * SECOND);
    expect(a.lease.isLeading()).toBe(true);
    await pass(1500);
    expect(a.lease.isLeading()).toBe(false);
  });

  it('that is stopped while it renews gives the Lease back after that', async () => {
    const a = contend('a');
    await pass(4 * SECOND);
    a.network = { slowMs: 2 * SECOND };
    await pass(2 * SECOND);
    a.stop.abort();
    await pass(8 * SECOND);
    expect(a.stopped).toBe(true);
    expect(holder()).toBe('');
    expect(a.states.at(-1)).toEqual({ leading: false, holder: undefined, error: undefined });
  });

  it('whose work ends with the abort has not failed', async () => {
    const a = contend('a', { work: (signal) => untilAborted(signal).then(() => signal.throwIfAborted()) });
    await pass(SECOND);
    a.stop.abort();
    await pass(SECOND);
    expect(a.states.map(({ error }) => error)).not.toContainEqual(expect.any(Error));
  });

  it('goes on when somebody has only written something into the Lease', async () => {
    const a = contend('a');
    await pass(100);
    leases.write({ ...leases.lease, metadata: { name: 'x', labels: { a: 'b' } } as LeaseObject['metadata'] });
    await pass(60 * SECOND);
    expect(a.terms).toHaveLength(1);
    expect(leases.lease?.metadata).toMatchObject({ labels: { a: 'b' } });
  });

  it('stops when somebody else stands in the Lease, and waits again', async () => {
    const a = contend('a');
    await pass(100);
    leases.edit({ holderIdentity: 'usurper' });
    await pass(5 * SECOND);
    expect(a.terms[0]?.aborted).toBe(true);
    expect(a.states.at(-1)).toEqual({ leading: false, holder: 'usurper', error: undefined });
    await pass(25 * SECOND);
    expect(a.terms).toHaveLength(2);
  });

  it('stops when the Lease is deleted, and begins anew', async () => {
    const a = contend('a');
    await pass(100);
    leases.lease = undefined;
    await pass(8 * SECOND);
    expect(a.terms.map(({ aborted }) => aborted)).toEqual([true, false]);
    expect(holder()).toBe('a_0');
  });

  it('does not lead a second time while the work of the first goes on', async () => {
    let finish = () => {};
    const a = contend('a', { work: () => new Promise((resolve) => (finish = resolve)) });
    await pass(100);
    a.network = 'away';
    await pass(20 * SECOND);
    a.network = 'fine';
    await pass(60 * SECOND);
    expect(a.terms).toHaveLength(1);
    finish();
    await pass(3 * SECOND);
    expect(a.terms).toHaveLength(2);
    finish();
    a.stop.abort();
    finish();
    await pass(SECOND);
  });

  it('whose work fails says so, and lets another one try', async () => {
    const broken = new Error('broken');
    const a = contend('a', { work: () => Promise.reject(broken) });
    const b = contend('b');
    await pass(100);
    expect(a.states).toContainEqual({ leading: false, holder: 'a_0', error: broken });
    await pass(3 * SECOND);
    expect(leaders()).toEqual([b]);
  });
});
