import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { connect } from '../../src/kube/client.ts';
import { type LeaseState, runLeaderLease } from '../../src/kube/leader-lease.ts';
import { systemTimers } from '../../src/timers.ts';
import { type ControlPlane, startControlPlane } from '../support/control-plane.ts';
import { untilAborted } from '../support/election.ts';
import { fakeTimers } from '../support/fake-clock.ts';
import type { CandidateSettings } from '../support/lease-candidate.ts';
import { type Server, startServer } from '../support/processes.ts';
import { programPath } from '../support/programs.ts';
import { type ScratchDir, scratchDir } from '../support/scratch.ts';

const script = programPath('lease-candidate');
const HOUR = 3_600_000;
const DURATION_MS = 3_000;

let plane: ControlPlane;
beforeAll(async () => {
  plane = await startControlPlane({ crds: false });
});
afterAll(() => plane?.[Symbol.asyncDispose]());

interface Deed {
  readonly what: string;
  readonly who: string;
  /** Who, and which of its times as leader. */
  readonly term: string;
}

/** A Lease of its own, and the processes that want it. */
class Race implements AsyncDisposable {
  readonly #name: string;
  readonly #dir: ScratchDir;
  readonly #processes = new Map<string, Server>();

  constructor(name: string, dir: ScratchDir) {
    this.#name = name;
    this.#dir = dir;
  }

  async start(identity: string, clockOffMs = 0): Promise<void> {
    const logFile = join(this.#dir.path, identity);
    const { kubeconfig } = plane;
    const settings: CandidateSettings = {
      kubeconfig,
      name: this.#name,
      identity,
      durationMs: DURATION_MS,
      clockOffMs,
      deeds: join(this.#dir.path, 'deeds'),
    };
    const process_ = await startServer({
      name: identity,
      command: process.execPath,
      args: [script, JSON.stringify(settings)],
      logFile,
      ready: async () => (await readFile(logFile, 'utf8')).includes('ready'),
    });
    this.#processes.set(identity, process_);
  }

  send(identity: string, signal: NodeJS.Signals): void {
    this.#processes.get(identity)?.kill(signal);
  }

  async end(identity: string, signal: NodeJS.Signals): Promise<void> {
    this.send(identity, signal);
    await this.#processes.get(identity)?.exited;
  }

  async deeds(): Promise<Deed[]> {
    const text = await readFile(join(this.#dir.path, 'deeds'), 'utf8').catch(() => '');
    const lines = text.split('\n').slice(0, -1);
    return lines.map((line) => {
      const [what = '', who = '', term] = line.split(' ');
      return { what, who, term: `${who} ${term}` };
    });
  }

  /** Waits for `count` more acts and returns who does them. */
  async actor(count = 5): Promise<string> {
    const before = (await this.deeds()).length;
    return vi.waitFor(async () => {
      const acts = (await this.deeds()).slice(before).filter(({ what }) => what === 'act');
      expect(acts.length).toBeGreaterThanOrEqual(count);
      return acts.at(-1)?.who ?? '';
    }, PATIENCE);
  }

  /** The terms in the order of their acts. @throws when anybody acts after the first act of the next one */
  async terms(): Promise<string[]> {
    const acts = (await this.deeds()).filter(({ what }) => what === 'act').map(({ term }) => term);
    const terms = acts.filter((term, i) => term !== acts[i - 1]);
    expect(terms).toEqual([...new Set(terms)]);
    return terms;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const one of this.#processes.values()) await one[Symbol.asyncDispose]();
    await this.#dir[Symbol.asyncDispose]();
  }
}

const PATIENCE = { timeout: 60_000, interval: 50 };
const newRace = async (name: string) => new Race(name, await scratchDir('lease-'));

describe('of candidates that are processes of their own', () => {
  it.each([2, 3])('%i that start at once, one leads, and the next one when it is killed', async (count) => {
    await using race = await newRace(`start-${count}`);
    const left = new Set(Array.from({ length: count }, (_, i) => `c${i}`));
    await Promise.all([...left].map((identity) => race.start(identity)));
    while (left.size > 0) {
      const leader = await race.actor();
      expect(left).toContain(leader);
      await race.end(leader, 'SIGKILL');
      left.delete(leader);
    }
    expect(await race.terms()).toHaveLength(count);
  });

  it('none is fooled by a clock that is wrong by an hour, be it the leader’s or its own', async () => {
    await using race = await newRace('clocks');
    const clocks = new Map([
      ['late', -HOUR],
      ['early', HOUR],
      ['right', 0],
    ]);
    for (const [identity, off] of clocks) await race.start(identity, off);
    // Longer than any Lease holds: whoever trusted the time that is written in it would have taken it by now.
    const first = await race.actor((1.3 * DURATION_MS) / 5);
    expect(await race.terms()).toEqual([`${first} 1`]);
    await race.end(first, 'SIGKILL');
    const second = await race.actor((1.3 * DURATION_MS) / 5);
    await race.end(second, 'SIGKILL');
    const third = await race.actor();
    expect(await race.terms()).toEqual([`${first} 1`, `${second} 1`, `${third} 1`]);
    expect([first, second, third].toSorted()).toEqual(['early', 'late', 'right']);
  });

  it('one that is frozen as leader and woken does nothing more', async () => {
    await using race = await newRace('frozen');
    await Promise.all(['a', 'b', 'c'].map((identity) => race.start(identity)));
    for (let round = 0; round < 3; round += 1) {
      const frozen = await race.actor();
      race.send(frozen, 'SIGUSR2');
      const next = await vi.waitFor(async () => {
        const actor = await race.actor();
        expect(actor).not.toBe(frozen);
        return actor;
      }, PATIENCE);
      race.send(frozen, 'SIGCONT');
      await vi.waitFor(async () => {
        const ends = (await race.deeds()).filter(({ what, who }) => what === 'end' && who === frozen);
        expect(ends.length).toBeGreaterThan(0);
      }, PATIENCE);
      expect(await race.actor(100)).toBe(next);
    }
    expect(await race.terms()).toHaveLength(4);
  });

  it('one leads again after the API server was away, whether or not that outlasted the Lease', async () => {
    await using race = await newRace('restart');
    await Promise.all(['a', 'b'].map((identity) => race.start(identity)));
    await race.actor();
    await plane.restart();
    await race.actor();
    plane.kill('SIGKILL');
    await vi.waitFor(async () => expect((await race.deeds()).at(-1)?.what).toBe('end'), PATIENCE);
    await plane.restart();
    await race.actor();
    await race.terms();
  });

  it('one that ends in good order has stopped before the next one begins', async () => {
    await using race = await newRace('order');
    await Promise.all(['a', 'b'].map((identity) => race.start(identity)));
    const first = await race.actor();
    await race.end(first, 'SIGTERM');
    await race.actor();
    const deeds = (await race.deeds()).filter(({ what }) => what !== 'act');
    expect(deeds.map(({ what, who }) => [what, who === first])).toEqual([
      ['begin', true],
      ['end', true],
      ['begin', false],
    ]);
    await race.terms();
  });
});

describe('a Lease', () => {
  it('that is given back is taken at the next look, long before it would have run out', async () => {
    await using client = await connect(plane.kubeconfig);
    const stop = { a: new AbortController(), b: new AbortController() };
    const run = (identity: 'a' | 'b', timers = fakeTimers()) => {
      const { signal } = stop[identity];
      const common = { client, name: 'given-back', random: () => 0, onLeading: untilAborted };
      return { timers, lease: runLeaderLease({ ...common, identity, timers, signal }) };
    };
    const a = run('a');
    await vi.waitFor(() => expect(a.lease.isLeading()).toBe(true), PATIENCE);
    const b = run('b');
    await b.timers.advance(2_500);
    stop.a.abort();
    await a.lease.stopped;
    const leaseNow = () => plane.kubectl(['get', 'lease', 'given-back', '-n', 'kube-system', '-o', 'json']);
    expect(JSON.parse((await leaseNow()).stdout).spec.holderIdentity).toBe('');
    await b.timers.advance(2_500);
    await vi.waitFor(() => expect(b.lease.isLeading()).toBe(true), PATIENCE);
    expect(JSON.parse((await leaseNow()).stdout).spec).toMatchObject({
      holderIdentity: 'b_0',
      leaseDurationSeconds: 15,
      leaseTransitions: 1,
    });
    stop.b.abort();
    await b.lease.stopped;
  });

  it('that is forbidden is told with the cure, and taken as soon as the right is there', async () => {
    await using client = await connect(await plane.serviceAccountKubeconfig('kube-system', 'candidate'));
    const states: LeaseState[] = [];
    const stop = new AbortController();
    const lease = runLeaderLease({
      client,
      name: 'forbidden',
      identity: 'a',
      random: () => 0,
      durationMs: DURATION_MS,
      timers: systemTimers,
      onLeading: untilAborted,
      signal: stop.signal,
      onState: (state) => states.push(state),
    });
    await vi.waitFor(() => expect(states).toHaveLength(1), PATIENCE);
    expect(states[0]).toMatchObject({
      leading: false,
      error: {
        code: 'forbidden',
        hint: expect.stringContaining('the right to "get" leases.coordination.k8s.io'),
      },
    });
    const role = ['-n', 'kube-system', 'candidate'];
    const verbs = ['--verb=get,create,update', '--resource=leases.coordination.k8s.io'];
    await plane.kubectl(['create', 'role', ...role, ...verbs]);
    const binding = ['--role=candidate', '--serviceaccount=kube-system:candidate'];
    await plane.kubectl(['create', 'rolebinding', ...role, ...binding]);
    await vi.waitFor(() => expect(lease.isLeading()).toBe(true), PATIENCE);
    expect(states.at(-1)).toEqual({ leading: true, holder: 'a_0', error: undefined });
    stop.abort();
    await lease.stopped;
  });

  it('that is deleted under a leader is made anew', async () => {
    await using client = await connect(plane.kubeconfig);
    const stop = new AbortController();
    const began: AbortSignal[] = [];
    const lease = runLeaderLease({
      client,
      name: 'deleted',
      identity: 'a',
      random: () => 0,
      durationMs: DURATION_MS,
      timers: systemTimers,
      signal: stop.signal,
      onLeading(signal) {
        began.push(signal);
        return untilAborted(signal);
      },
    });
    await vi.waitFor(() => expect(began).toHaveLength(1), PATIENCE);
    await plane.kubectl(['delete', 'lease', 'deleted', '-n', 'kube-system']);
    await vi.waitFor(() => expect(began.map(({ aborted }) => aborted)).toEqual([true, false]), PATIENCE);
    stop.abort();
    await lease.stopped;
  });
});
