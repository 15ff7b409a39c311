import { expect, it } from 'vitest';
import { md5Of } from './md5.ts';
import { assertTaken } from './s3-proof.ts';

const md5 = md5Of(Buffer.from('hello'));
const other = md5Of(Buffer.from('hullo')).toString('hex');

it.each([
  { ETag: '"5d41402abc4b2a76b9719d911017c592"' },
  { ETag: '5D41402ABC4B2A76B9719D911017C592' },
  { ETag: `"${other}"`, ServerSideEncryption: 'aws:kms' },
  { ETag: `"${other}"`, SSECustomerAlgorithm: 'AES256' },
  { ETag: '"a number that the server counts up"' },
  { ETag: `"${other}-1"` },
  {},
])('is content with the answer %j', (answer) => {
  expect(() => assertTaken(answer, md5, 'Cannot upload it')).not.toThrow();
});

it.each([{ ETag: `"${other}"` }, { ETag: other }, { ETag: `W/"${other}"` }])(
  'sees by the answer %j that other bytes arrived',
  (answer) => {
    expect(() => assertTaken(answer, md5, 'Cannot upload it')).toThrow(
      expect.objectContaining({ code: 'corrupt', retryable: true, why: expect.stringContaining(other) }),
    );
  },
);
