import { describe, expect, it } from 'vitest';
import { startFaultFront } from '../../test/support/fault-front.ts';
import { startScriptedS3 } from '../../test/support/scripted-s3.ts';
import { createS3Store } from './s3-store.ts';

const never = new AbortController().signal;
const options = { program: 'k3s', nodeName: 'node-1', firstRetryMs: 1, maxAttempts: 2 } as const;
const one = '<Contents><Key>on-demand-node-1-1730308816</Key><Size>544</Size><ETag>"a"</ETag></Contents>';
const page = (content: string) => `<?xml version="1.0"?><ListBucketResult>${content}</ListBucketResult>`;
const uploads = (content: string) =>
  `<?xml version="1.0"?><ListMultipartUploadsResult><Bucket>bucket</Bucket>${content}</ListMultipartUploadsResult>`;

/** A server that has the objects, and answers every listing with this. */
async function answering(body: string) {
  const s3 = await startScriptedS3();
  const front = await startFaultFront(`http://${s3.settings.endpoint}`);
  s3.place('on-demand-node-1-1730308816', Buffer.alloc(544));
  front.setRule(({ path }) => (/[?&](?:list-type|uploads)\b/.test(path) ? { status: 200, body } : undefined));
  const store = createS3Store({ ...s3.settings, endpoint: front.endpoint }, options);
  return {
    store,
    async [Symbol.asyncDispose]() {
      store[Symbol.dispose]();
      await front[Symbol.asyncDispose]();
      await s3[Symbol.asyncDispose]();
    },
  };
}

it('a listing that is whole names what there is', async () => {
  await using it = await answering(page(`<IsTruncated>false</IsTruncated>${one}`));
  expect(await it.store.list(never)).toMatchObject([{ size: 544 }]);
});

describe('a listing that is not whole is an error, for what it does not name would pass for gone', () => {
  it.each([
    ['says that there is more, and not where', page(`<IsTruncated>true</IsTruncated>${one}`)],
    [
      'says that there is more, and an empty place',
      page(`<IsTruncated>true</IsTruncated><NextContinuationToken></NextContinuationToken>${one}`),
    ],
    ['breaks off', page(`<IsTruncated>false</IsTruncated>${one}${one}`).slice(0, -60)],
    ['is empty', ''],
    [
      'names an object without its size',
      page('<IsTruncated>false</IsTruncated><Contents><Key>a</Key></Contents>'),
    ],
    ['names no object where there is one', page('<IsTruncated>false</IsTruncated><Contents></Contents>')],
    [
      'has a place to go on, does not say whether it ends, and repeats',
      page(`<Name>bucket</Name><NextContinuationToken>a</NextContinuationToken>${one}`),
    ],
  ])('(it %s)', async (_what, body) => {
    await using it = await answering(body);
    await expect(it.store.list(never)).rejects.toMatchObject({
      code: expect.stringMatching(/^(?:protocol|unavailable)$/),
      hint: expect.stringMatching(/\S/),
    });
  });

  it.each([
    ['says that there is more, and not where', uploads('<IsTruncated>true</IsTruncated>')],
    [
      'says that there is more, and an empty place',
      uploads('<IsTruncated>true</IsTruncated><NextKeyMarker></NextKeyMarker>'),
    ],
    ['breaks off', uploads('<IsTruncated>false</IsTruncated>').slice(0, -10)],
    ['is empty', ''],
  ])('(of unfinished uploads; it %s)', async (_what, body) => {
    await using it = await answering(body);
    await expect(it.store.sweep(never)).rejects.toMatchObject({ code: 'protocol' });
  });
});
