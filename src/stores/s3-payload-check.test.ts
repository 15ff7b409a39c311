import { expect, it } from 'vitest';
import { type Fault, type SeenRequest, startFaultFront } from '../../test/support/fault-front.ts';
import { MIB, someBytes } from '../../test/support/growing-bytes.ts';
import { startScriptedS3 } from '../../test/support/scripted-s3.ts';
import { bytesOf, uploadOf } from '../../test/support/store-contract.ts';
import { createS3Store } from './s3-store.ts';

const never = new AbortController().signal;
const options = { program: 'k3s', nodeName: 'node-1', partSize: MIB, firstRetryMs: 1 } as const;
const isQuestion = ({ path, headers }: SeenRequest) =>
  path.includes('partNumber=1') && headers['content-length'] === '1';

it.each<[string, Fault]>([
  ['500', { status: 500 }],
  ['503', { status: 503, body: '<Error><Code>SlowDown</Code></Error>' }],
  ['a reset', { cutAfterRequestBytes: 0 }],
  ['silence', 'hang'],
])('%s to the question whether sums are checked gives the parts sums of their own', async (_what, fault) => {
  await using s3 = await startScriptedS3();
  await using front = await startFaultFront(`http://${s3.settings.endpoint}`);
  front.setRule((request) => (isQuestion(request) ? fault : undefined));
  const settings = { ...s3.settings, endpoint: front.endpoint, stallMs: fault === 'hang' ? 2_000 : 30_000 };
  using store = createS3Store(settings, options);
  const put = async (second: number) => {
    const content = someBytes(2 * MIB + 32);
    const name = `on-demand-node-1-${second}`;
    await store.put(uploadOf(name, bytesOf(content)), never);
    expect(s3.objects.get(name)?.equals(content)).toBe(true);
  };
  await put(1);
  const first = s3.sums.length;
  expect(new Set(s3.sums)).toEqual(new Set(['sha256 md5']));
  expect(front.requests.filter(isQuestion)).toHaveLength(1);
  // The next upload asks again.
  front.setRule(() => undefined);
  await put(2);
  expect(new Set(s3.sums.slice(first))).toEqual(new Set(['sha256']));
});

it('ends with the signal while it asks', async () => {
  await using s3 = await startScriptedS3();
  await using front = await startFaultFront(`http://${s3.settings.endpoint}`);
  const ended = new AbortController();
  front.setRule((request) => {
    if (!isQuestion(request)) return undefined;
    ended.abort();
    return 'hang';
  });
  using store = createS3Store({ ...s3.settings, endpoint: front.endpoint }, options);
  const done = store.put(uploadOf('on-demand-node-1-1', bytesOf(someBytes(2 * MIB))), ended.signal);
  await expect(done).rejects.toMatchObject({ code: 'aborted' });
  expect(s3.sums).toEqual([]);
});
