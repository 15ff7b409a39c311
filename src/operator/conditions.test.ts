import { expect, it } from 'vitest';
import { SnapshotError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import type { Metrics } from '../ops/metrics.ts';
import { createPartStates, tellOnce } from './conditions.ts';

function start() {
  const lines: string[] = [];
  const logger = {
    info: ({ part }: { part: string }) => lines.push(`${part} works`),
    warn: ({ reason }: { reason: string }) => lines.push(reason),
  } as unknown as Logger;
  const states = createPartStates({ ready: () => {} } as unknown as Metrics, logger);
  return { lines, logger, ...states };
}

const terminating = (record: string) =>
  new SnapshotError('forbidden', `Cannot create ${record}`, { why: 'it is terminating', hint: 'Wait.' });

it('a part that fails of one record after another is logged once, and its state names the last', () => {
  const { lines, readiness, report } = start();
  for (const record of ['a', 'b', 'c']) report('local', terminating(record));
  expect(lines).toEqual(['Cannot create a — it is terminating — Wait.']);
  expect(readiness.report().parts['local']?.reason).toContain('Cannot create c');
  report('local', undefined);
  report('local', terminating('d'));
  expect(lines.slice(1)).toEqual(['local works', expect.stringContaining('Cannot create d')]);
});

it('each other reason of S3 is logged, for people change it one setting after the other', () => {
  const { lines, report } = start();
  for (const key of ['bucket', 'bucket', 'region'])
    report('s3', new SnapshotError('usage', `${key} is wrong`));
  expect(lines).toEqual(['bucket is wrong', 'region is wrong']);
});

it('what is wrong with a Secret is one line, for those who list Events', () => {
  const { lines, report } = start();
  const why = '\n  - etcd-s3-timeout: "soon" is no time: write 5m\n  - etcd-s3-insecure: write true';
  report('s3', new SnapshotError('usage', 'Secret cannot be used', { why, hint: 'Correct these keys.' }));
  expect(lines).toEqual([
    'Secret cannot be used — etcd-s3-timeout: "soon" is no time: write 5m; etcd-s3-insecure: write true — Correct these keys.',
  ]);
});

it('a record that waits is logged once with cause and cure, and again when it waits for something else or anew', () => {
  const { lines, logger } = start();
  const waiting = tellOnce(logger, 'A record has to wait');
  const away = new SnapshotError('unavailable', 'S3 is away', { hint: 'Check it.' });
  for (const _ of [1, 2, 3]) waiting.told('a', away);
  waiting.told('b', away);
  waiting.told('a', terminating('a'));
  waiting.told('a', undefined);
  waiting.told('a', terminating('a'));
  expect(lines).toEqual([
    'S3 is away — Check it.',
    'S3 is away — Check it.',
    'Cannot create a — it is terminating — Wait.',
    'Cannot create a — it is terminating — Wait.',
  ]);
});
