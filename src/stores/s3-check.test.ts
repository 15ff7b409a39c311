import { expect, it } from 'vitest';
import { startMarkingS3 } from '../../test/support/marking-s3.ts';
import { plainSettings } from '../../test/support/scripted-s3.ts';
import { checkS3 } from './s3-check.ts';

const never = new AbortController().signal;

it('removes the delete marker of its first request at the end, when that failed in between', async () => {
  await using s3 = await startMarkingS3((before) => (before < 3 ? 500 : undefined));
  const settings = plainSettings(s3.endpoint);
  const found = await checkS3(settings, { onStep: () => {}, firstRetryMs: 1, maxAttempts: 3 }, never);
  expect(found.steps.find(({ outcome }) => outcome === 'fail')?.step).toBe('bucket');
  expect([...s3.markers]).toEqual([]);
  expect(found.left).toEqual([]);
});
