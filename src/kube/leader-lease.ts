import { asError, isSnapshotError, SnapshotError } from '../errors.ts';
import { rest, type Timers } from '../timers.ts';
import type { KubeClient } from './client.ts';
import { LeaseClaim } from './lease-claim.ts';
import { createLeaseApi, type LeaseObject } from './lease-object.ts';

const DURATION_MS = 15_000;
/** A leader renews three times as often as needed, and stops well before anybody else may begin. */
const SHARES = { renew: 1 / 3, deadline: 2 / 3, call: 1 / 5, look: 2 / 15, retry: 1 / 30 } as const;

export interface LeaderLeaseOptions {
  readonly client: Pick<KubeClient, 'request'>;
  /** `kube-system` unless given. */
  readonly namespace?: string;
  readonly name: string;
  /** Who this is, for people: the node. Two processes of one identity are still two candidates: each adds a random part. */
  readonly identity: string;
  readonly timers: Timers;
  /** From 0 to below 1. */
  readonly random: () => number;
  /**
   * How long a silent leader keeps others out; 15 s unless given. It renews after a third of it, and may act for two
   * thirds of it after the start of its last renewal.
   */
  readonly durationMs?: number;
  /**
   * The leader's work, until `signal` fires: because the process ends, or at once when leadership is lost or in doubt.
   * Nobody else leads through us before it has settled; if it settles by itself, the Lease is given back.
   */
  readonly onLeading: (signal: AbortSignal) => Promise<void>;
  /** Told once per change. */
  readonly onState?: (state: LeaseState) => void;
  /** Ends it: the work first, then the Lease is given back. */
  readonly signal: AbortSignal;
}

export interface LeaseState {
  readonly leading: boolean;
  /** As the Lease names it; undefined while nobody is known to hold it. */
  readonly holder: string | undefined;
  /** What keeps us from the Lease, or what the leader's work failed with; undefined once it goes on. */
  readonly error: Error | undefined;
}

export interface LeaderLease {
  /**
   * Ask right before every act as leader. A process that was frozen runs on where it stood, before any timer or signal
   * can tell it that somebody else leads by now.
   */
  isLeading(): boolean;
  /** Resolves when `signal` has fired, the work has settled and the Lease is given back. Never rejects. */
  readonly stopped: Promise<void>;
}

/**
 * Takes part in the election of one leader among all processes that name the same Lease.
 *
 * Nobody's clock is compared with another's: a Lease counts as held for its duration since we saw it change, on our own
 * monotonic clock, while its holder counts from before it asked for the change.
 */
export function runLeaderLease(options: LeaderLeaseOptions): LeaderLease {
  const candidate = new Candidate(options);
  return { isLeading: () => candidate.isLeading(), stopped: candidate.run() };
}

interface Moment {
  readonly steady: number;
  readonly wall: number;
}

interface Term {
  lease: LeaseObject;
  /** Before the last successful renewal was asked for; undefined once the term is lost. */
  renewedAt: Moment | undefined;
  readonly leading: AbortController;
}

class Candidate {
  readonly #options: LeaderLeaseOptions;
  readonly #durationMs: number;
  readonly #claim: LeaseClaim;
  #term: Term | undefined;
  #told: LeaseState | undefined;
  #toldText = '';

  constructor(options: LeaderLeaseOptions) {
    const { client, namespace = 'kube-system', name, identity, timers, random } = options;
    const { durationMs = DURATION_MS } = options;
    const api = createLeaseApi(client, namespace, name, durationMs * SHARES.call);
    const holder = `${identity}_${Math.floor(random() * 2 ** 48).toString(16)}`;
    this.#options = options;
    this.#durationMs = durationMs;
    this.#claim = new LeaseClaim({ api, timers, holder, durationMs });
  }

  isLeading(): boolean {
    const term = this.#term;
    return term !== undefined && !term.leading.signal.aborted && this.#holds(term);
  }

  async run(): Promise<void> {
    const { signal, random } = this.#options;
    while (!signal.aborted) {
      const term = await this.#stand();
      if (term !== undefined) await this.#lead(term);
      await this.#pause(SHARES.look * (1 + random() / 4), signal);
    }
    await this.#giveBack();
  }

  /** One attempt to get the Lease. */
  async #stand(): Promise<Term | undefined> {
    const { signal } = this.#options;
    try {
      const lease = await this.#claim.look(signal);
      if (this.#claim.isFree() && !signal.aborted) {
        const renewedAt = this.#moment();
        const term = { lease: await this.#claim.write(lease), renewedAt, leading: new AbortController() };
        if (this.#holds(term)) return term;
      }
      this.#tell(undefined);
    } catch (error) {
      // Somebody else was quicker: the next look shows who.
      const outrun = isSnapshotError(error, 'conflict', 'exists');
      if (!signal.aborted) this.#tell(outrun ? undefined : asError(error));
    }
    return undefined;
  }

  /** Works and renews until the work has settled, then gives the Lease back. */
  async #lead(term: Term): Promise<void> {
    const { signal, onLeading } = this.#options;
    const stop = () => {
      term.leading.abort(signal.reason);
      this.#tell(undefined);
    };
    if (signal.aborted) return;
    signal.addEventListener('abort', stop, { once: true });
    this.#term = term;
    this.#tell(undefined);
    const settled = new AbortController();
    const renewing = this.#renew(term, settled.signal);
    let failure: Error | undefined;
    try {
      await onLeading(term.leading.signal);
    } catch (error) {
      if (!term.leading.signal.aborted) failure = asError(error);
    }
    this.#term = undefined;
    settled.abort();
    signal.removeEventListener('abort', stop);
    await renewing;
    this.#tell(failure ?? this.#told?.error);
    await this.#giveBack();
  }

  async #renew(term: Term, settled: AbortSignal): Promise<void> {
    const { timers } = this.#options;
    let wait: number = SHARES.renew;
    while (this.#holds(term)) {
      const left = this.#durationMs * SHARES.deadline - this.#since(term.renewedAt);
      using _deadline = timers.after(left, () => this.#lose(term));
      await this.#pause(wait, settled);
      if (settled.aborted) return;
      wait = await this.#extend(term);
    }
    this.#lose(term);
  }

  /** One attempt to renew; returns how soon to try again, as a share of the duration. */
  async #extend(term: Term): Promise<number> {
    if (!this.#holds(term)) return 0;
    const renewedAt = this.#moment();
    try {
      term.lease = await this.#claim.write(term.lease);
      if (term.renewedAt !== undefined) term.renewedAt = renewedAt;
      this.#tell(undefined);
      return SHARES.renew;
    } catch (error) {
      if (isSnapshotError(error, 'conflict', 'not-found')) return this.#reread(term);
      this.#tell(asError(error));
      return SHARES.retry;
    }
  }

  /** Somebody has changed or removed the Lease: we go on only if it still names us. */
  async #reread(term: Term): Promise<number> {
    try {
      const lease = await this.#claim.look(new AbortController().signal);
      if (this.#claim.isOurs(lease)) term.lease = lease;
      else this.#lose(term);
      return 0;
    } catch (error) {
      this.#tell(asError(error));
      return SHARES.retry;
    }
  }

  #lose(term: Term): void {
    term.renewedAt = undefined;
    if (term.leading.signal.aborted) return;
    term.leading.abort(new SnapshotError('aborted', 'Leadership is lost'));
    this.#tell(this.#told?.error);
  }

  async #giveBack(): Promise<void> {
    try {
      await this.#claim.giveBack();
      this.#tell(this.#told?.error);
    } catch (error) {
      this.#tell(asError(error));
    }
  }

  #holds(term: Term): boolean {
    return term.renewedAt !== undefined && this.#since(term.renewedAt) < this.#durationMs * SHARES.deadline;
  }

  #moment(): Moment {
    const { timers } = this.#options;
    return { steady: timers.monotonic(), wall: timers.now().getTime() };
  }

  /** The longer of both: the monotonic clock stands still while the machine is suspended, the wall's may be set back. */
  #since(moment: Moment | undefined): number {
    if (moment === undefined) return Number.POSITIVE_INFINITY;
    const now = this.#moment();
    return Math.max(now.steady - moment.steady, now.wall - moment.wall);
  }

  /** @param share of the duration; ends early with the signal */
  #pause(share: number, signal: AbortSignal): Promise<void> {
    return rest(this.#options.timers, share * this.#durationMs, signal);
  }

  #tell(error: Error | undefined): void {
    const state: LeaseState = { leading: this.isLeading(), holder: this.#claim.holder, error };
    const text = `${state.leading} ${state.holder} ${error}`;
    if (text === this.#toldText) return;
    this.#told = state;
    this.#toldText = text;
    this.#options.onState?.(state);
  }
}
