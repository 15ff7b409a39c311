import { describe, expect, it } from 'vitest';
import type { S3Settings } from '../config/types.ts';
import { addressOf } from './s3-address.ts';

const given = (endpoint: string, more: Partial<S3Settings> = {}) =>
  ({ endpoint, insecure: false, lookup: 'auto', ...more }) as S3Settings;

describe('addressOf', () => {
  it.each([
    ['s3.amazonaws.com', 'us-east-1', 'https://s3.us-east-1.amazonaws.com/', false],
    ['s3.amazonaws.com', 'eu-central-1', 'https://s3.eu-central-1.amazonaws.com/', false],
    ['s3.us-east-1.amazonaws.com', 'eu-west-1', 'https://s3.eu-west-1.amazonaws.com/', false],
    ['s3-us-gov-west-1.amazonaws.com', 'us-gov-west-1', 'https://s3.us-gov-west-1.amazonaws.com/', false],
    ['s3.cn-north-1.amazonaws.com.cn', 'cn-north-1', 'https://s3.cn-north-1.amazonaws.com.cn/', false],
    [
      'b.vpce-1.s3.us-east-1.vpce.amazonaws.com',
      'x',
      'https://b.vpce-1.s3.us-east-1.vpce.amazonaws.com/',
      false,
    ],
    ['oss-cn-beijing.aliyuncs.com', 'x', 'https://oss-cn-beijing.aliyuncs.com/', false],
    ['minio.example:9000', 'eu-west-1', 'https://minio.example:9000/', true],
    ['[fd00::1]:9000', 'x', 'https://[fd00::1]:9000/', true],
    ['notamazonaws.com', 'x', 'https://notamazonaws.com/', true],
  ])('%s in %s is %s', (endpoint, region, url, pathStyle) => {
    expect(addressOf(given(endpoint), region)).toEqual({ url: new URL(url), pathStyle });
  });

  it('does as it is told', () => {
    expect(addressOf(given('h', { lookup: 'dns', insecure: true }), 'x')).toEqual({
      url: new URL('http://h/'),
      pathStyle: false,
    });
    expect(addressOf(given('s3.amazonaws.com', { lookup: 'path' }), 'x').pathStyle).toBe(true);
  });
});
