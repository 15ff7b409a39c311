import type { S3Settings } from '../config/types.ts';
import { asError, SnapshotError, withBesides } from '../errors.ts';
import type { Clock } from '../snapshot/ports.ts';
import type { CheckedStep, CheckStep, CheckTarget, StoreCheck } from '../snapshot/store-check.ts';
import { addressOf, hostOf } from './s3-address.ts';
import { checkBucket, checkKeys } from './s3-check-access.ts';
import { checkBucketRules } from './s3-check-bucket.ts';
import { newCanaries } from './s3-check-canary.ts';
import { checkOperations } from './s3-check-operations.ts';
import { CheckSteps } from './s3-check-steps.ts';
import { lateSignal, type Trial, tidy } from './s3-check-trial.ts';
import { checkWay } from './s3-check-way.ts';
import { connectS3, type S3Connection, type S3Tuning } from './s3-client.ts';
import { minimalPolicy } from './s3-policy.ts';
import { proxyFor, shownProxy } from './s3-proxy.ts';

export interface CheckOptions extends S3Tuning {
  readonly clock?: Clock;
  /** Told each step as soon as it is done. */
  readonly onStep: (step: CheckedStep) => void;
}

/** How long a request that is under way may still take after an interruption. */
const GRACE_MS = 1_000;

const ORDER: readonly CheckStep[] = [
  'dns',
  'tcp',
  'tls',
  'clock',
  'keys',
  'bucket',
  'object lock',
  'lifecycle',
  'unfinished uploads',
  'put',
  'multipart',
  'list',
  'head',
  'ranged get',
  'delete',
];

/**
 * Tries all that snapshots need of S3, with objects of its own under the folder, and tells what works and why the rest does
 * not. What it makes it removes again, whatever fails and also when it is interrupted; where it could not, it makes nothing
 * and only tries whether it would be allowed.
 * @throws SnapshotError `usage` | `io` when the settings cannot be used at all; `aborted`, with what was left behind
 */
export async function checkS3(
  settings: S3Settings,
  options: CheckOptions,
  signal: AbortSignal,
): Promise<StoreCheck> {
  const env = options.env ?? process.env;
  const tuning = { maxAttempts: 3, ...options };
  const clock = options.clock ?? { now: () => new Date() };
  const s3 = connectS3(settings, clock, tuning);
  const steps = new CheckSteps(options.onStep, signal);
  using late = lateSignal(signal, GRACE_MS);
  const trial: Trial = {
    s3,
    canaries: newCanaries(settings, clock.now()),
    signal: late.signal,
    made: new Set(),
    markers: new Map(),
    perhaps: new Set(),
    left: [],
    traits: { versions: false, locks: false },
    onlyRights: undefined,
    versionsStay: false,
    deletionRefused: undefined,
    needsOwnLock: false,
    ahead: 0,
    lockedUntil: 0,
  };
  let end: Error | undefined;
  try {
    await goThrough(trial, steps, tuning, signal);
  } catch (error) {
    end = asError(error);
  }
  await tidy(trial);
  s3.close();
  if (end !== undefined) throw withBesides(end, trial.left.map(leftBehind));
  skipRest(steps, settings);
  const policy = minimalPolicy(settings, trial.traits);
  return { target: targetOf(s3, env), steps: steps.done, left: trial.left, policy };
}

async function goThrough(
  trial: Trial,
  steps: CheckSteps,
  tuning: S3Tuning,
  signal: AbortSignal,
): Promise<void> {
  const { s3 } = trial;
  const env = tuning.env ?? process.env;
  if (!(await checkWay(s3, env, steps, signal))) return;
  if (!(await checkKeys(s3, env, steps, signal))) return;
  if (!(await checkBucket(trial, steps, tuning))) return;
  const lock = await checkBucketRules(s3, steps, trial.signal);
  trial.traits = { ...trial.traits, locks: lock !== 'none' && lock !== 'unknown' };
  trial.needsOwnLock = typeof lock === 'object';
  trial.ahead = steps.done.find(({ step }) => step === 'clock')?.seconds ?? 0;
  await checkOperations(trial, steps, tuning);
}

/** What was not reached, for something before it has failed. */
function skipRest(steps: CheckSteps, settings: S3Settings): void {
  const failed = steps.done.find(({ outcome }) => outcome === 'fail')?.step;
  for (const step of ORDER) {
    if (steps.done.some((done) => done.step === step) || (step === 'tls' && settings.insecure)) continue;
    steps.passOver(step, `not tried, for ${failed} has failed`);
  }
}

function targetOf(s3: S3Connection, env: NonNullable<S3Tuning['env']>): CheckTarget {
  const { settings } = s3;
  const { url, pathStyle } = addressOf(settings, s3.region());
  const proxy = proxyFor(settings.proxy, hostOf(settings), env);
  return {
    endpoint: url.origin,
    bucket: settings.bucket,
    folder: settings.folder,
    region: s3.region(),
    addressing: pathStyle ? 'path' : 'dns',
    proxy: proxy === undefined ? undefined : shownProxy(proxy),
  };
}

function leftBehind(what: string): SnapshotError {
  return new SnapshotError('io', 'The check has left something behind', {
    why: what,
    hint: 'Remove it by hand.',
  });
}
