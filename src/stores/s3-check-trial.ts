import { setTimeout as pause } from 'node:timers/promises';
import { asError, isSnapshotError, type SnapshotError } from '../errors.ts';
import {
  type Canaries,
  type Canary,
  deleteObject,
  dropUploadsOf,
  release,
  removeForGood,
} from './s3-check-canary.ts';
import type { S3Connection } from './s3-client.ts';
import { headObject } from './s3-list.ts';
import type { BucketTraits } from './s3-policy.ts';

/** What a check has made, knows and may do. */
export interface Trial {
  readonly s3: S3Connection;
  readonly canaries: Canaries;
  /** Fires a moment after the interruption, so that it is known what a request under way has made. */
  readonly signal: AbortSignal;
  /** Keys of what is there. */
  readonly made: Set<string>;
  /** Keys of what is, or may be, there. */
  readonly perhaps: Set<string>;
  /** Delete markers that were made before what is not there: version by key. */
  readonly markers: Map<string, string>;
  /** What is there for ever, each with the reason. */
  readonly left: string[];
  traits: BucketTraits;
  /** Why nothing is made: it could not be removed again. Then only rights are tried. */
  onlyRights: string | undefined;
  /** What is deleted stays as an old version, which these keys may not remove. */
  versionsStay: boolean;
  /** Why nothing may be deleted. */
  deletionRefused: SnapshotError | undefined;
  /** The bucket locks what has no lock of its own, so canaries get one that is soon over. */
  needsOwnLock: boolean;
  /** By how many seconds this node is ahead of the server. */
  ahead: number;
  /** When the last of these locks is over, by our clock. */
  lockedUntil: number;
}

/** In the future by the server's clock when it gets there, and over when all else has been tried. */
const LOCK_MS = 4_000;
/** Clocks are compared by whole seconds. */
const LOCK_MARGIN_MS = 1_500;
/** For removing what a check that was cut short has made. */
const TIDY_MS = 4_000;
/** Between the looks for what may come to be late. */
const LOOK_AGAIN_MS = 250;

/** Refusals that leave no doubt: nothing was made. */
const REFUSED = ['forbidden', 'unauthenticated', 'usage', 'not-found'] as const;

export async function make(
  trial: Trial,
  canary: Canary,
  doing: string,
  s3: S3Connection = trial.s3,
): Promise<void> {
  const { key } = canary;
  trial.perhaps.add(key);
  try {
    await release(trial.needsOwnLock ? withOwnLock(trial, s3) : s3, canary, doing, trial.signal);
    trial.made.add(key);
  } catch (error) {
    if (canary === trial.canaries.small && isSnapshotError(error, ...REFUSED)) trial.perhaps.delete(key);
    throw error;
  }
}

function withOwnLock(trial: Trial, s3: S3Connection): S3Connection {
  const until = s3.clock.now().getTime() + LOCK_MS;
  trial.lockedUntil = until + LOCK_MARGIN_MS;
  const objects = { ...s3.settings.objects, lockedUntil: new Date(until - trial.ahead * 1000) };
  return { ...s3, settings: { ...s3.settings, objects } };
}

/** Waits for the locks that the check has set itself. */
export async function ownLocksOver({ s3, lockedUntil }: Trial, signal?: AbortSignal): Promise<void> {
  const rest = lockedUntil - s3.clock.now().getTime();
  if (rest > 0) await pause(rest, undefined, signal === undefined ? {} : { signal });
}

/** Removes what may still be there, and adds to `left` what could not be removed. */
export async function tidy(trial: Trial): Promise<void> {
  const { s3, canaries, made, markers, perhaps, left } = trial;
  if (perhaps.size > 0) await ownLocksOver(trial);
  const signal = AbortSignal.timeout(TIDY_MS);
  for (const [key, version] of markers) {
    try {
      await deleteObject(s3, key, version, 'Cannot remove a delete marker', signal);
    } catch (error) {
      left.push(`a delete marker of ${key}: ${reasonOf(error)}`);
    }
  }
  if (perhaps.size === 0) return;
  for (const key of perhaps) {
    try {
      await removeLate(s3, key, signal);
    } catch (error) {
      left.push(`${key}: ${reasonOf(error)}`);
    }
  }
  if (!perhaps.has(canaries.large.key) || made.has(canaries.large.key)) return;
  const unsure = await dropUploadsOf(s3, canaries.large.key, signal);
  if (unsure !== undefined) left.push(`perhaps parts of ${canaries.large.key}: ${unsure}`);
}

function reasonOf(error: unknown): string {
  return isSnapshotError(error) ? (error.why ?? error.message) : asError(error).message;
}

/** What was cut off may come to be after it was looked for: it is gone when it was not there twice. */
async function removeLate(s3: S3Connection, key: string, signal: AbortSignal): Promise<void> {
  for (let absent = 0; absent < 2; ) {
    const there = await isThere(s3, key, signal);
    if (there !== false) await removeForGood(s3, key, signal);
    if (there === undefined) return;
    absent = there ? 0 : absent + 1;
    if (absent < 2) await pause(LOOK_AGAIN_MS);
  }
}

/** Undefined when this key may not look. */
async function isThere(s3: S3Connection, key: string, signal: AbortSignal): Promise<boolean | undefined> {
  try {
    return (await headObject(s3, key, 'Cannot look for what the check has made', signal)) !== undefined;
  } catch (error) {
    if (isSnapshotError(error, 'forbidden')) return undefined;
    throw error;
  }
}

/** A signal that fires so many milliseconds after another one. */
export function lateSignal(signal: AbortSignal, ms: number): { readonly signal: AbortSignal } & Disposable {
  const late = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const onAbort = () => {
    timer = setTimeout(() => late.abort(signal.reason), ms);
  };
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  return {
    signal: late.signal,
    [Symbol.dispose]() {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    },
  };
}
