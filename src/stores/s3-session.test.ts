import { expect, it } from 'vitest';
import { someBytes } from '../../test/support/growing-bytes.ts';
import { startScriptedS3 } from '../../test/support/scripted-s3.ts';
import { bytesOf, uploadOf } from '../../test/support/store-contract.ts';
import { SnapshotError } from '../errors.ts';
import { createS3Store } from './s3-store.ts';

const never = new AbortController().signal;
const NAME = 'on-demand-node-1-1730308816';

it('each request is asked for right before it is sent, so nothing is seen of one that must not be', async () => {
  await using s3 = await startScriptedS3();
  let asked = 0;
  let allowed = Number.POSITIVE_INFINITY;
  const store = createS3Store(s3.settings, {
    program: 'k3s',
    nodeName: 'node-1',
    mayCall() {
      asked += 1;
      if (asked > allowed) throw new SnapshotError('aborted', 'We lead no more');
    },
  });
  await store.put(uploadOf(NAME, bytesOf(someBytes(1000))), never);
  expect(s3.diary.length).toBeGreaterThan(0);
  expect(asked).toBe(s3.diary.length);
  allowed = asked;
  await expect(store.stat(NAME, never)).rejects.toMatchObject({ code: 'aborted' });
  expect(s3.diary.length).toBe(allowed);
});
