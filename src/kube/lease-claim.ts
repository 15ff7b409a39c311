import type { Timers } from '../timers.ts';
import { type LeaseApi, type LeaseObject, microTime } from './lease-object.ts';

export interface LeaseClaimOptions {
  readonly api: LeaseApi;
  readonly timers: Timers;
  /** Of this process and no other. */
  readonly holder: string;
  readonly durationMs: number;
}

interface Sight {
  readonly version: string | undefined;
  readonly holder: string;
  /** On the monotonic clock: until when the Lease keeps others than its holder out. */
  readonly until: number;
}

/** One process's hands on a Lease: who has it, as far as we have seen, and the writes that take and return it. */
export class LeaseClaim {
  readonly #options: LeaseClaimOptions;
  #seen: Sight | undefined;
  /** Whether the Lease may name us: set before each write, whose answer may get lost. */
  #mayHold = false;
  #writes = 0;

  constructor(options: LeaseClaimOptions) {
    this.#options = options;
  }

  /** As the Lease named it when last seen. */
  get holder(): string | undefined {
    return this.#seen?.holder || undefined;
  }

  isOurs(lease: LeaseObject | undefined): lease is LeaseObject {
    return lease?.spec?.holderIdentity === this.#options.holder;
  }

  async look(signal: AbortSignal): Promise<LeaseObject | undefined> {
    const lease = await this.#options.api.get(signal);
    if (lease !== undefined) this.#see(lease);
    return lease;
  }

  /** A Lease that is missing still counts as we last saw it: its holder may not have noticed yet. */
  isFree(): boolean {
    return this.#seen === undefined || this.#options.timers.monotonic() >= this.#seen.until;
  }

  /** Takes or renews the Lease over what was looked at. @throws SnapshotError `conflict` | `exists` when outrun */
  async write(lease: LeaseObject | undefined): Promise<LeaseObject> {
    const { api, holder, durationMs } = this.#options;
    const renewTime = this.#time();
    const leaseTransitions = lease === undefined ? 0 : (lease.spec?.leaseTransitions ?? 0) + 1;
    const spec = {
      holderIdentity: holder,
      leaseDurationSeconds: Math.ceil(durationMs / 1000),
      renewTime,
      ...(this.isOurs(lease) ? {} : { acquireTime: renewTime, leaseTransitions }),
    };
    this.#mayHold = true;
    const written = await (lease === undefined ? api.create(spec) : api.update(lease, spec));
    this.#see(written);
    return written;
  }

  /** Lets others take the Lease at once, if it is ours. */
  async giveBack(): Promise<void> {
    if (!this.#mayHold) return;
    const lease = await this.look(new AbortController().signal);
    if (this.isOurs(lease)) {
      this.#see(await this.#options.api.update(lease, { holderIdentity: '', renewTime: this.#time() }));
    }
    this.#mayHold = false;
  }

  #see(lease: LeaseObject): void {
    const version = lease.metadata.resourceVersion;
    if (this.#seen?.version === version) return;
    const { timers, durationMs } = this.#options;
    const { holderIdentity: holder = '', leaseDurationSeconds = 0 } = lease.spec ?? {};
    const now = timers.monotonic();
    const free = holder === '' || this.isOurs(lease);
    const until = free ? now : now + Math.max(durationMs, leaseDurationSeconds * 1000);
    this.#seen = { version, holder, until };
  }

  #time(): string {
    this.#writes += 1;
    return microTime(this.#options.timers.now(), this.#writes);
  }
}
