import { expect, it } from 'vitest';
import { SnapshotError } from '../errors.ts';
import { optionalMetadata } from './looks.ts';

const signal = new AbortController().signal;

function metadata(error: SnapshotError) {
  const lines: unknown[] = [];
  const legacyMetadata = optionalMetadata({
    facts: { legacyMetadata: async () => Promise.reject(error) },
    logger: { warn: (facts: unknown) => lines.push(facts) },
  });
  return { lines, legacyMetadata };
}

it('metadata that nobody here may read are left out, which is told once', async () => {
  const { lines, legacyMetadata } = metadata(new SnapshotError('forbidden', 'refused'));
  for (const _ of [1, 2]) expect(await legacyMetadata(signal)).toEqual(new Map());
  expect(lines).toEqual([{ reason: 'refused' }]);
});

it('metadata that cannot be read at this moment are waited for', async () => {
  const away = new SnapshotError('unavailable', 'away');
  await expect(metadata(away).legacyMetadata(signal)).rejects.toBe(away);
});
