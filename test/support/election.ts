import { fromAnswer, timedOut } from '../../src/kube/api-errors.ts';
import type { KubeRequest } from '../../src/kube/api-request.ts';
import { type LeaderLease, type LeaseState, runLeaderLease } from '../../src/kube/leader-lease.ts';
import type { LeaseObject, LeaseSpec } from '../../src/kube/lease-object.ts';
import { type FakeTimers, fakeTimers } from './fake-clock.ts';

const SECOND = 1000;

/** One Lease with optimistic locking, as the API server keeps it. */
export class FakeLeases {
  lease: LeaseObject | undefined;
  /** The methods of all requests. */
  readonly requests: string[] = [];
  #version = 0;

  answer(request: KubeRequest): LeaseObject {
    this.requests.push(request.method);
    const sent = structuredClone(request.body) as LeaseObject | undefined;
    const refuse = (status: number, reason: string) =>
      fromAnswer(request, status, JSON.stringify({ kind: 'Status', reason, details: { name: 'x' } }));
    if (request.method === 'POST' && sent !== undefined) {
      if (this.lease !== undefined) throw refuse(409, 'AlreadyExists');
      return this.write(sent);
    }
    const stored = this.lease;
    if (request.method === 'GET' && stored === undefined) throw refuse(404, 'NotFound');
    if (request.method === 'GET' || sent === undefined) return structuredClone(stored as LeaseObject);
    // The API server creates a Lease that is put, but not over another version of it.
    if (sent.metadata.resourceVersion !== stored?.metadata.resourceVersion) throw refuse(409, 'Conflict');
    return this.write(sent);
  }

  write(lease: LeaseObject): LeaseObject {
    this.#version += 1;
    this.lease = { ...lease, metadata: { ...lease.metadata, resourceVersion: String(this.#version) } };
    return structuredClone(this.lease);
  }

  edit(spec: LeaseSpec): void {
    this.write({ metadata: { name: 'x' }, ...this.lease, spec: { ...this.lease?.spec, ...spec } });
  }
}

/** `deaf`: nothing arrives; `silent`: writes are done, but not answered. */
export type Network = 'fine' | 'away' | 'forbidden' | 'silent' | 'deaf' | { readonly slowMs: number };

export interface Contender {
  readonly timers: FakeTimers;
  readonly lease: LeaderLease;
  readonly states: LeaseState[];
  readonly stop: AbortController;
  /** How often it began to lead, and its newest signal. */
  readonly terms: AbortSignal[];
  network: Network;
  /** How many of its calls were under way at once, at most. */
  busiest: number;
  stopped: boolean;
}

interface Way {
  /** The work of a leader; ends with its signal unless given. */
  readonly work?: (signal: AbortSignal) => Promise<void>;
  /** What its clock on the wall says at the start. */
  readonly clock?: string;
  readonly random?: number;
}

export const untilAborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));

export interface Election {
  readonly leases: FakeLeases;
  readonly contend: (identity: string, way?: Way) => Contender;
  /**
   * Lets the same time pass for all, for a frozen one without it noticing; in steps of 100 ms, so that they interleave.
   * @throws Error when two lead at the same time
   */
  readonly pass: (ms: number, frozen?: Contender) => Promise<void>;
  readonly leaders: () => readonly Contender[];
  /** Whom the Lease names. */
  readonly holder: () => string | undefined;
  /** Stops all. @throws Error when one does not stop, leaves a timer behind, or ever made two calls at once */
  readonly end: () => Promise<void>;
}

/** Candidates for one Lease, each with clocks and a network of its own. */
export function createElection(): Election {
  const leases = new FakeLeases();
  const contenders: Contender[] = [];
  const leaders = () => contenders.filter(({ lease }) => lease.isLeading());

  const pass = async (ms: number, frozen?: Contender): Promise<void> => {
    for (let step = 0; step < ms; step += 100) {
      for (const one of contenders) {
        if (one === frozen) one.timers.freeze(100);
        else await one.timers.advance(100);
      }
      if (leaders().length > 1) throw new Error('two lead at the same time');
    }
  };

  const contend = (identity: string, { work = untilAborted, clock, random = 0 }: Way = {}): Contender => {
    const timers = fakeTimers(clock);
    const wait = (ms: number) => new Promise<void>((resolve) => timers.after(ms, resolve));
    const exchange = async (request: KubeRequest): Promise<LeaseObject> => {
      const { network } = one;
      if (network === 'away') throw fromAnswer(request, 503, '');
      if (network === 'forbidden') throw fromAnswer(request, 403, '');
      const { timeoutMs = 10 * SECOND } = request;
      const silent = network === 'silent' && request.method !== 'GET';
      if (silent) leases.answer(request);
      if (silent || network === 'deaf') {
        await wait(timeoutMs);
        throw timedOut(request, 'it', timeoutMs);
      }
      const answer = leases.answer(request);
      if (typeof network === 'object') await wait(network.slowMs);
      return answer;
    };
    let calls = 0;
    const client = {
      async request<T>(request: KubeRequest): Promise<T> {
        // Not before the contender below is there.
        await Promise.resolve();
        calls += 1;
        one.busiest = Math.max(one.busiest, calls);
        try {
          return JSON.parse(JSON.stringify(await exchange(request)));
        } finally {
          calls -= 1;
        }
      },
    };
    const states: LeaseState[] = [];
    const terms: AbortSignal[] = [];
    const stop = new AbortController();
    const lease = runLeaderLease({
      client,
      name: 'x',
      identity,
      timers,
      random: () => random,
      onLeading: async (signal) => {
        terms.push(signal);
        await work(signal);
      },
      onState: (state) => states.push(state),
      signal: stop.signal,
    });
    const network = 'fine';
    const one: Contender = { timers, lease, states, stop, terms, network, busiest: 0, stopped: false };
    void lease.stopped.then(() => {
      one.stopped = true;
    });
    contenders.push(one);
    return one;
  };

  const end = async () => {
    for (const one of contenders) {
      one.network = 'fine';
      one.stop.abort();
    }
    await pass(60 * SECOND);
    for (const { stopped, timers, busiest } of contenders) {
      const left = { stopped, timers: timers.waiting, calls: busiest };
      if (!stopped || timers.waiting > 0 || busiest > 1) throw new Error(JSON.stringify(left));
    }
  };

  return { leases, contend, pass, leaders, holder: () => leases.lease?.spec?.holderIdentity, end };
}
