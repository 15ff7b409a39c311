import { abortError, asError, isSnapshotError, type SnapshotError, withBesides } from '../errors.ts';
import { interruptedSave } from './interrupted-save.ts';
import type { NewSnapshot, SnapshotRecorder, StoredSnapshot } from './ports.ts';
import type { SaveResult } from './save-snapshot.ts';
import type { Snapshot, SnapshotLocation } from './snapshot.ts';

export type SnapshotIdentity = Omit<NewSnapshot, 'expectedSize' | 'isFollowed'>;

interface Entry {
  readonly snapshot: Snapshot;
  /** Settles, without ever rejecting, when the record is made or cannot be made; undefined: it is made. */
  readonly unrecorded: Promise<Error | undefined>;
}

/**
 * What has become of a save so far. A copy is published as soon as it stands, a failure as soon as it is known: what comes
 * after may take long, or never end.
 */
export class SaveLedger {
  readonly #identity: SnapshotIdentity;
  readonly #recorder: SnapshotRecorder | undefined;
  readonly #signal: AbortSignal;
  readonly #onStored: (snapshot: Snapshot) => void;
  readonly #entries: Entry[] = [];
  readonly #failures: SnapshotError[] = [];
  readonly #warnings: Error[] = [];

  constructor(
    identity: SnapshotIdentity,
    recorder: SnapshotRecorder | undefined,
    onStored: (snapshot: Snapshot) => void,
    signal: AbortSignal,
  ) {
    this.#identity = identity;
    this.#onStored = onStored;
    this.#recorder = recorder;
    this.#signal = signal;
  }

  stored({ snapshot, warnings }: StoredSnapshot): void {
    this.#warnings.push(...warnings);
    this.#onStored(snapshot);
    this.#publish(snapshot);
  }

  /** A copy that was asked for and will not be. @param location undefined: nobody knows where it would have been */
  failed(location: SnapshotLocation | undefined, failure: SnapshotError): void {
    this.#failures.push(failure);
    if (location !== undefined) this.#publish(this.#failure(location, failure));
  }

  warn(...warnings: readonly Error[]): void {
    this.#warnings.push(...warnings);
  }

  /** Does what does not decide about the snapshot: that it fails is a warning. */
  async attempt(work: () => PromiseLike<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      const failure = asError(error);
      if (!this.#signal.aborted || !isInterruption(failure)) this.warn(failure);
    }
  }

  /** Waits for the records. @throws SnapshotError `aborted` when the signal has left something undone */
  async result(): Promise<SaveResult> {
    const unrecorded = await this.#unrecorded();
    const created = this.#copies();
    const warnings = [...this.#warnings, ...unrecorded.map(({ error }) => error)];
    const undone = [...this.#failures, ...warnings].some(isInterruption);
    if (!this.#signal.aborted || !undone) return { created, failures: this.#failures, warnings };
    const without = unrecorded.map(({ snapshot }) => snapshot);
    throw interruptedSave({ created, unrecorded: without, failures: this.#failures }, this.#signal);
  }

  /**
   * The error of a save that ends without a copy, with all that went wrong besides. It is recorded, so that whoever looks for
   * the snapshot finds the reason; but not that another save runs, which leaves a record of its own.
   */
  async givenUp(error: Error): Promise<Error> {
    const isRecorded = this.#entries.length > 0 || this.#signal.aborted || isSnapshotError(error, 'busy');
    if (!isRecorded) this.#publish(this.#failure({ store: 'local', path: '' }, error));
    const unrecorded = (await this.#unrecorded()).map((one) => one.error);
    const besides = [...this.#failures, ...this.#warnings, ...unrecorded];
    return withBesides(
      error,
      besides.filter((one) => one !== error && !isInterruption(one)),
    );
  }

  #failure(location: SnapshotLocation, error: Error): Snapshot {
    const { createdAt: time } = this.#identity;
    return { ...this.#identity, size: 0, location, failure: { time, message: describe(error) } };
  }

  #publish(snapshot: Snapshot): void {
    this.#entries.push({ snapshot, unrecorded: this.#record(snapshot) });
  }

  async #record(snapshot: Snapshot): Promise<Error | undefined> {
    if (this.#recorder === undefined) return undefined;
    if (this.#signal.aborted) return abortError(this.#signal);
    return this.#recorder.record(snapshot, this.#signal).then(() => undefined, asError);
  }

  #copies(): Snapshot[] {
    return this.#entries.flatMap(({ snapshot }) => (snapshot.failure === undefined ? [snapshot] : []));
  }

  async #unrecorded(): Promise<{ readonly snapshot: Snapshot; readonly error: Error }[]> {
    const settled = await Promise.all(
      this.#entries.map(async ({ snapshot, unrecorded }) => ({ snapshot, error: await unrecorded })),
    );
    return settled.flatMap(({ snapshot, error }) => (error === undefined ? [] : [{ snapshot, error }]));
  }
}

function isInterruption(error: Error): boolean {
  return isSnapshotError(error, 'aborted');
}

/** One line for the status of a record. */
function describe(error: Error): string {
  return isSnapshotError(error) && error.why !== undefined ? `${error.message}: ${error.why}` : error.message;
}
