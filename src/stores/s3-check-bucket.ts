import { GetBucketLifecycleConfigurationCommand, type LifecycleRule } from '@aws-sdk/client-s3';
import { isSnapshotError } from '../errors.ts';
import type { CheckSteps, Seen } from './s3-check-steps.ts';
import type { S3Connection } from './s3-client.ts';
import { isS3Error } from './s3-failure.ts';
import { folderPrefix } from './s3-keys.ts';
import { type BucketLock, readBucketLock } from './s3-lock.ts';
import { rightFor } from './s3-policy.ts';

/** What cannot be read in a moment: restoring would have to wait for hours. */
const FROZEN = ['GLACIER', 'DEEP_ARCHIVE'];

/** What the bucket does with objects by itself. @returns its rule about locks; `unknown` when it may not be seen */
export async function checkBucketRules(
  s3: S3Connection,
  steps: CheckSteps,
  signal: AbortSignal,
): Promise<BucketLock | 'unknown'> {
  const lock = await orUnseen(readBucketLock(s3, 'Cannot read the locks of the bucket', signal));
  if (lock === UNSEEN) skipUnseen(steps, 'object lock', 'GetObjectLockConfiguration');
  else await steps.try('object lock', async () => describeLock(lock));
  const rules = await orUnseen(readRules(s3, signal));
  if (rules === UNSEEN) skipUnseen(steps, 'lifecycle', 'GetBucketLifecycleConfiguration');
  else await steps.try('lifecycle', async () => describeRules(rules, folderPrefix(s3.settings)));
  return lock === UNSEEN ? 'unknown' : lock;
}

const UNSEEN = Symbol('unseen');

/** That a key may not see, or a server not tell, what no snapshot needs is no failure. */
async function orUnseen<T>(work: Promise<T>): Promise<T | typeof UNSEEN> {
  try {
    return await work;
  } catch (error) {
    if (isSnapshotError(error, 'aborted')) throw error;
    return UNSEEN;
  }
}

function skipUnseen(steps: CheckSteps, step: 'object lock' | 'lifecycle', operation: string): void {
  steps.passOver(
    step,
    `this key may not look at it, or the server has none (${rightFor(operation)} in a policy)`,
  );
}

function describeLock(lock: BucketLock): Seen {
  if (lock === 'none') return { says: 'the bucket locks nothing' };
  if (lock === undefined) return { says: 'the bucket can lock objects, and does not do it by itself' };
  const { mode, days } = lock;
  return {
    says: `each object is locked for ${days} days (${mode})`,
    cause: 'object-lock',
    cure: `Expect more snapshots than retention keeps: it deletes none that is younger than ${days} days.`,
  };
}

async function readRules(s3: S3Connection, signal: AbortSignal): Promise<readonly LifecycleRule[]> {
  const input = { Bucket: s3.settings.bucket };
  const doing = 'Cannot read the lifecycle rules of the bucket';
  try {
    const { Rules = [] } = await s3.call(
      'GetBucketLifecycleConfiguration',
      doing,
      signal,
      (client, options) => client.send(new GetBucketLifecycleConfigurationCommand(input), options),
    );
    return Rules;
  } catch (error) {
    if (isS3Error(error, 'NoSuchLifecycleConfiguration', 'NotImplemented')) return [];
    throw error;
  }
}

/** What rules do with snapshots behind the back of whoever counts them. */
export function describeRules(rules: readonly LifecycleRule[], prefix: string): Seen {
  const clashes = rules
    .filter((rule) => rule.Status === 'Enabled' && meets(rule, prefix))
    .flatMap((rule) => {
      const what = whatItDoes(rule);
      return what === undefined ? [] : [`rule ${JSON.stringify(rule.ID ?? '')} ${what}`];
    });
  if (clashes.length === 0) return { says: 'no rule deletes or freezes snapshots' };
  return {
    says: `${clashes.join('; ')}, whatever retention keeps`,
    cause: 'lifecycle',
    cure: 'Leave it to retention: limit the rule to another prefix, or to old versions and unfinished uploads.',
  };
}

function whatItDoes({ Expiration, Transitions = [] }: LifecycleRule): string | undefined {
  if (Expiration?.Days !== undefined) return `deletes snapshots after ${Expiration.Days} days`;
  if (Expiration?.Date !== undefined)
    return `deletes snapshots at ${Expiration.Date.toISOString().slice(0, 10)}`;
  const frozen = Transitions.find(({ StorageClass }) => FROZEN.includes(StorageClass ?? ''));
  return frozen === undefined
    ? undefined
    : `moves snapshots to ${frozen.StorageClass} after ${frozen.Days ?? 0} days, where they cannot be read at once`;
}

/** A rule for some tags or sizes alone may still meet snapshots, and is worth a look. */
function meets(rule: LifecycleRule, prefix: string): boolean {
  const { Filter } = rule;
  const ofRule = Filter?.Prefix ?? Filter?.And?.Prefix ?? prefixOfOldRules(rule) ?? '';
  return prefix.startsWith(ofRule) || ofRule.startsWith(prefix);
}

function prefixOfOldRules(rule: LifecycleRule): string | undefined {
  return 'Prefix' in rule && typeof rule.Prefix === 'string' ? rule.Prefix : undefined;
}
