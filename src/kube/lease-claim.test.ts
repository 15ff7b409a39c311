import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createElection } from '../../test/support/election.ts';

const SECOND = 1000;

let { leases, contend, pass, leaders, holder, end } = createElection();

beforeEach(() => {
  ({ leases, contend, pass, leaders, holder, end } = createElection());
});

afterEach(() => end());

describe('a second candidate', () => {
  it('takes over once the first is silent for as long as the Lease holds, and not before', async () => {
    const a = contend('a');
    await pass(100);
    const b = contend('b');
    await pass(60 * SECOND);
    expect(leaders()).toEqual([a]);
    a.network = 'away';
    await pass(10 * SECOND);
    expect(leaders()).toEqual([]);
    expect(a.terms[0]?.aborted).toBe(true);
    expect(a.states.at(-1)).toMatchObject({ leading: false, error: { code: 'unavailable' } });
    await pass(3 * SECOND);
    expect(leaders()).toEqual([]);
    await pass(6 * SECOND);
    expect(leaders()).toEqual([b]);
    expect(leases.lease?.spec).toMatchObject({ holderIdentity: 'b_0', leaseTransitions: 1 });
    a.network = 'fine';
    await pass(60 * SECOND);
    expect(leaders()).toEqual([b]);
    expect(a.states.at(-1)).toEqual({ leading: false, holder: 'b_0', error: undefined });
  });

  it('takes over at its next look when the first has stopped, and only after its work', async () => {
    let finish = () => {};
    const a = contend('a', { work: () => new Promise((resolve) => (finish = resolve)) });
    await pass(100);
    const b = contend('b');
    await pass(5 * SECOND);
    a.stop.abort();
    await pass(60 * SECOND);
    expect(a.terms[0]?.aborted).toBe(true);
    expect(a.lease.isLeading()).toBe(false);
    expect(leaders()).toEqual([]);
    expect(holder()).toBe('a_0');
    finish();
    await pass(3 * SECOND);
    expect(a.stopped).toBe(true);
    expect(leaders()).toEqual([b]);
  });

  it.each(['2024-10-30T16:20:16Z', '2024-10-30T18:20:16Z'])(
    'is not fooled by its clock saying %s',
    async (clock) => {
      const a = contend('a');
      await pass(100);
      const b = contend('b', { clock });
      await pass(60 * SECOND);
      expect(leaders()).toEqual([a]);
      a.network = 'away';
      await pass(25 * SECOND);
      expect(leaders()).toEqual([b]);
      a.network = 'fine';
      await pass(60 * SECOND);
      expect(leaders()).toEqual([b]);
    },
  );

  it('is another candidate, even under the same identity', async () => {
    const a = contend('a', { random: 0.1 });
    await pass(100);
    contend('a', { random: 0.2 });
    await pass(60 * SECOND);
    expect(leaders()).toEqual([a]);
  });

  it('waits as long as the Lease asks for, where that is longer than its own wait', async () => {
    leases.edit({ holderIdentity: 'newer', leaseDurationSeconds: 60 });
    contend('b');
    await pass(58 * SECOND);
    expect(leaders()).toEqual([]);
    await pass(5 * SECOND);
    expect(leaders()).toHaveLength(1);
  });

  it('waits out a holder whose Lease somebody has deleted', async () => {
    const a = contend('a');
    await pass(100);
    contend('b');
    await pass(3 * SECOND);
    a.network = 'away';
    leases.lease = undefined;
    await pass(9 * SECOND);
    expect(leases.lease).toBeUndefined();
    await pass(10 * SECOND);
    expect(holder()).toBe('b_0');
  });
});

describe('three candidates', () => {
  it('that start at once make one leader, round after round', async () => {
    const candidates = ['a', 'b', 'c'].map((identity) => contend(identity));
    for (let round = 0; round < 3; round += 1) {
      await pass(3 * SECOND);
      const [leader] = leaders();
      expect(leaders()).toHaveLength(1);
      leader?.stop.abort();
    }
    await pass(3 * SECOND);
    expect(candidates.flatMap(({ terms }) => terms)).toHaveLength(3);
  });
});

describe('a candidate without a Lease', () => {
  it('tells the cure once, and leads as soon as it may', async () => {
    const a = contend('a');
    a.network = 'forbidden';
    await pass(60 * SECOND);
    expect(a.states).toMatchObject([
      {
        leading: false,
        holder: undefined,
        error: { code: 'forbidden', hint: expect.stringContaining('"get" leases.coordination.k8s.io') },
      },
    ]);
    a.network = 'fine';
    await pass(3 * SECOND);
    expect(leaders()).toEqual([a]);
  });

  it('does not lead when the answer comes too late to be worth anything', async () => {
    const a = contend('a');
    a.network = { slowMs: 10 * SECOND };
    await pass(30 * SECOND);
    expect(a.terms).toEqual([]);
    a.network = 'fine';
    await pass(15 * SECOND);
    expect(leaders()).toEqual([a]);
  });

  it('stops at once, whether or not anybody answers', async () => {
    const a = contend('a');
    a.network = 'deaf';
    a.stop.abort();
    await pass(4 * SECOND);
    expect(a.stopped).toBe(true);
  });

  it('gives back a Lease that it got without hearing of it', async () => {
    const a = contend('a');
    a.network = 'silent';
    await pass(SECOND);
    expect(holder()).toBe('a_0');
    a.stop.abort();
    a.network = 'fine';
    await pass(4 * SECOND);
    expect(a.terms).toEqual([]);
    expect(holder()).toBe('');
  });
});
