import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { SnapshotError } from '../errors.ts';
import { fromS3Error } from './s3-errors.ts';
import { isS3Error } from './s3-failure.ts';
import type { S3Call } from './s3-translations.ts';

const call: S3Call = {
  doing: 'Cannot list s3://backups/etcd',
  operation: 'ListObjectsV2',
  endpoint: 's3.example:9000',
  bucket: 'backups',
  region: 'us-east-1',
  insecure: false,
  proxy: undefined,
  authorities: [],
  now: new Date('2026-11-22T10:00:00Z'),
};

/** An error as the SDK makes it. */
function sdkError(name: string, status?: number, more: object = {}): Error {
  return Object.assign(new Error(`${name} it says`), {
    name,
    $metadata: { httpStatusCode: status },
    ...more,
  });
}

/** An error as Node makes it. */
function nodeError(code: string): Error {
  return Object.assign(new Error(`${code} it says`), { code });
}

describe('fromS3Error', () => {
  it.each([
    ['InvalidAccessKeyId', 403, 'unauthenticated', false, /--s3-access-key/],
    ['SignatureDoesNotMatch', 403, 'unauthenticated', false, /--s3-secret-key/],
    ['ExpiredToken', 400, 'unauthenticated', false, /--s3-session-token/],
    ['InvalidToken', 400, 'unauthenticated', false, /belongs to the keys/],
    ['AccessDenied', 403, 'forbidden', false, /Allow ListObjectsV2 in bucket backups/],
    ['NoSuchBucket', 404, 'not-found', false, /--s3-bucket.*never made/],
    ['NoSuchKey', 404, 'not-found', false, /--s3-folder/],
    ['SlowDown', 503, 'unavailable', true, /later/],
    ['ServiceUnavailable', 503, 'unavailable', true, /later/],
    ['InternalError', 500, 'unavailable', true, /later/],
    ['TimeoutError', undefined, 'timeout', true, /--s3-timeout/],
    ['BadDigest', 400, 'corrupt', true, /proxies/],
    ['XAmzContentSHA256Mismatch', 400, 'corrupt', true, /proxies/],
    ['InvalidTag', 400, 'usage', false, /--s3-tags/],
    ['InvalidStorageClass', 400, 'usage', false, /--s3-storage-class/],
    ['AccessControlListNotSupported', 400, 'usage', false, /--s3-acl/],
    ['InvalidBucketName', 400, 'usage', false, /--s3-bucket/],
    // Answers without a body tell only a status.
    ['UnknownError', 403, 'forbidden', false, /--s3-access-key/],
    ['UnknownError', 401, 'unauthenticated', false, /--s3-access-key/],
    ['NotFound', 404, 'not-found', false, /--s3-folder/],
    ['UnknownError', 429, 'unavailable', true, /later/],
    ['UnknownError', 502, 'unavailable', true, /later/],
    ['UnknownError', 301, 'usage', false, /--s3-region/],
    ['UnknownError', 400, 'protocol', false, /--s3-sse-c-key/],
    ['SomethingNew', 409, 'protocol', false, /--debug/],
    // An unknown answer must not pass for "there is no such object".
    ['SomethingNew', 404, 'protocol', false, /--debug/],
  ] as const)('%s, HTTP %s, is %s', (name, status, code, retryable, hint) => {
    const error = fromS3Error(sdkError(name, status), call);
    expect(error).toMatchObject({ message: call.doing, code, retryable });
    expect(error.hint).toMatch(hint);
  });

  it.each([
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'tls', false, /--s3-endpoint-ca/],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'tls', false, /--s3-endpoint-ca/],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'tls', false, /--s3-endpoint-ca/],
    ['CERT_HAS_EXPIRED', 'tls', false, /clock/],
    ['CERT_NOT_YET_VALID', 'tls', false, /clock/],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'tls', false, /--s3-endpoint/],
    ['EPROTO', 'protocol', false, /--s3-insecure/],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'protocol', false, /--s3-insecure/],
    ['ERR_SSL_NEW_ONE', 'protocol', false, /--s3-insecure/],
    ['ERR_SSL_SSL/TLS_ALERT_BAD_RECORD_MAC', 'unavailable', true, /network card/],
    ['ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC', 'unavailable', true, /network card/],
    ['HPE_INVALID_CONSTANT', 'protocol', false, /--s3-insecure/],
    ['HPE_NEW_ONE', 'protocol', false, /--s3-insecure/],
    ['ECONNREFUSED', 'unavailable', true, /--s3-endpoint/],
    ['ENOTFOUND', 'unavailable', true, /DNS/],
    ['ECONNRESET', 'unavailable', true, /Try again/],
    ['EPIPE', 'unavailable', true, /Try again/],
    ['ETIMEDOUT', 'timeout', true, /--s3-endpoint/],
  ] as const)('%s is %s', (systemCode, code, retryable, hint) => {
    const error = fromS3Error(nodeError(systemCode), call);
    expect(error).toMatchObject({ code, retryable });
    expect(error.hint).toMatch(hint);
  });

  it.each([
    { date: 'Sun, 22 Nov 2026 09:00:00 GMT', why: /3600 s ahead of that of s3\.example:9000/ },
    { date: 'Sun, 22 Nov 2026 10:20:00 GMT', why: /1200 s behind that of s3\.example:9000/ },
    { date: undefined, why: /differ too much/ },
    { date: 'yesterday', why: /differ too much/ },
  ])('tells how wrong the clock is: $date', ({ date, why }) => {
    const skewed = sdkError('RequestTimeTooSkewed', 403, {
      $response: { statusCode: 403, headers: { date } },
    });
    const error = fromS3Error(skewed, call);
    expect(error.code).toBe('clock-skew');
    expect(error.why).toMatch(why);
  });

  it('knows a wrong clock also by the refusal of a HEAD, which says nothing but when', () => {
    const headers = { date: 'Sun, 22 Nov 2026 09:00:00 GMT' };
    const refused = (clockSkewCorrected: boolean) =>
      sdkError('UnknownError', 403, {
        $metadata: { httpStatusCode: 403, clockSkewCorrected },
        $response: { statusCode: 403, headers },
      });
    expect(fromS3Error(refused(true), call).code).toBe('clock-skew');
    expect(fromS3Error(refused(false), call).code).toBe('forbidden');
  });

  it('names the right region when the server does', () => {
    const byBody = sdkError('AuthorizationHeaderMalformed', 400, { Region: 'eu-central-1' });
    expect(fromS3Error(byBody, call).hint).toBe('Use --s3-region=eu-central-1.');
    const headers = { 'x-amz-bucket-region': 'eu-west-1' };
    const byHeader = sdkError('PermanentRedirect', 301, { $response: { headers } });
    expect(fromS3Error(byHeader, call)).toMatchObject({ code: 'usage', hint: 'Use --s3-region=eu-west-1.' });
  });

  it('tells which CAs were loaded', () => {
    const error = nodeError('SELF_SIGNED_CERT_IN_CHAIN');
    expect(fromS3Error(error, call).why).toMatch(/trusted here: those of Node and of this machine$/);
    const authorities = ['CN=our CA (of /ca.crt, until 2030-01-01)'];
    expect(fromS3Error(error, { ...call, authorities }).why).toContain(
      'of this machine, CN=our CA (of /ca.crt',
    );
  });

  it.each([
    [nodeError('ECONNREFUSED'), 'unavailable', true, /--s3-proxy=none/],
    [nodeError('ENOTFOUND'), 'unavailable', true, /--s3-proxy/],
    [Object.assign(nodeError('ERR_PROXY_TUNNEL'), { statusCode: 407 }), 'unauthenticated', false, /user:/],
    [Object.assign(nodeError('ERR_PROXY_TUNNEL'), { statusCode: 403 }), 'forbidden', false, /Allow/],
    [Object.assign(nodeError('ERR_PROXY_TUNNEL'), { statusCode: 502 }), 'unavailable', true, /reach/],
    [nodeError('ERR_PROXY_TUNNEL'), 'unavailable', true, /reach/],
    [sdkError('UnknownError', 407), 'unauthenticated', false, /user:/],
  ] as const)('blames the proxy for %s', (reason, code, retryable, hint) => {
    const error = fromS3Error(reason, { ...call, proxy: 'proxy:3128' });
    expect(error).toMatchObject({ code, retryable, why: expect.stringContaining('proxy:3128') });
    expect(error.hint).toMatch(hint);
  });

  it('does not blame the proxy for what S3 says', () => {
    const error = fromS3Error(sdkError('AccessDenied', 403), { ...call, proxy: 'proxy:3128' });
    expect(error.why).not.toContain('proxy');
  });

  it('keeps nothing of the request', () => {
    const request = { headers: { authorization: 'AWS4-HMAC-SHA256 Credential=AKIA/…, Signature=abc' } };
    const error = fromS3Error(
      sdkError('AccessDenied', 403, { $response: { headers: {}, req: request } }),
      call,
    );
    expect(inspect(error, { depth: 9, showHidden: true })).not.toMatch(/Signature|AKIA/);
    expect(isS3Error(error, 'AccessDenied')).toBe(true);
    expect(isS3Error(error, 'NoSuchUpload')).toBe(false);
  });

  it('takes a bad request over plain http for a server that speaks TLS', () => {
    const error = fromS3Error(sdkError('UnknownError', 400), { ...call, insecure: true });
    expect(error.hint).toContain('--s3-insecure');
  });

  it('leaves our own errors alone', () => {
    const own = new SnapshotError('aborted', 'Interrupted');
    expect(fromS3Error(own, call)).toBe(own);
  });
});
