import { describe, expect, it } from 'vitest';
import { startFaultFront } from '../../test/support/fault-front.ts';
import { startScriptedS3 } from '../../test/support/scripted-s3.ts';
import { askedToWait, readFailure } from './s3-failure.ts';
import { createS3Store } from './s3-store.ts';

const never = new AbortController().signal;

describe('a server that asks to be left alone', () => {
  it.each([
    ['2', 2_000],
    ['3600', 30_000],
    ['Wed, 21 Oct 2026 07:28:00 GMT', 0],
    ['-1', 0],
  ])('for %s is left alone for %i ms', (value, ms) => {
    const error = Object.assign(new Error('no'), {
      $response: { statusCode: 503, headers: { 'Retry-After': value } },
    });
    expect(askedToWait(readFailure(error))).toBe(ms);
  });

  it('is not asked again before that, and the time of the operation goes on', async () => {
    await using s3 = await startScriptedS3();
    await using front = await startFaultFront(`http://${s3.settings.endpoint}`);
    front.setRule(() => ({
      status: 503,
      headers: { 'retry-after': '20' },
      body: '<Error><Code>SlowDown</Code><Message>no</Message></Error>',
    }));
    const settings = { ...s3.settings, endpoint: front.endpoint, timeoutMs: 5_000 };
    using store = createS3Store(settings, { program: 'k3s', nodeName: 'n', firstRetryMs: 1 });
    await expect(store.sweep(never)).rejects.toMatchObject({
      code: 'timeout',
      why: expect.stringContaining('SlowDown'),
    });
    expect(front.requests).toHaveLength(1);
  });
});
