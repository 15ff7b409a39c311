import { describe, expect, it } from 'vitest';
import { Redacted } from '../config/types.ts';
import { proxyFor, shownProxy } from './s3-proxy.ts';

const both = { HTTP_PROXY: 'http://plain:3128', HTTPS_PROXY: 'http://secure:3128' };
const s3 = { host: 's3.example.com', port: 443, secure: true };
const hostFor = (env: Record<string, string>, target = s3) => proxyFor('environment', target, env)?.hostname;

describe('the proxy on the way to S3', () => {
  it('is that of the environment, by scheme; small letters come first', () => {
    expect(hostFor({})).toBeUndefined();
    expect(hostFor(both)).toBe('secure');
    expect(hostFor(both, { ...s3, secure: false, port: 80 })).toBe('plain');
    expect(hostFor({ ...both, https_proxy: 'small:1' })).toBe('small');
    expect(hostFor({ HTTPS_PROXY: 'http://[fd00::1]:3128' })).toBe('[fd00::1]');
  });

  it('is the flag before the environment, for any host; none goes straight', () => {
    const flag = new Redacted('http://user:word@flag:8080');
    const env = { ...both, NO_PROXY: '*' };
    expect(proxyFor(flag, s3, env)?.hostname).toBe('flag');
    expect(proxyFor(flag, { ...s3, host: '127.0.0.1' }, env)?.hostname).toBe('flag');
    expect(proxyFor('none', s3, both)).toBeUndefined();
  });

  it.each(['localhost', '127.0.0.1', '127.9.9.9', '::1'])(
    'is never that of the environment for %s',
    (host) => {
      expect(hostFor(both, { ...s3, host })).toBeUndefined();
    },
  );

  it.each([
    ['*', 's3.example.com', true],
    ['example.com', 's3.example.com', true],
    ['example.com', 'example.com', true],
    ['.example.com', 's3.example.com', true],
    ['.example.com', 'example.com', false],
    ['*.example.com', 'backups.s3.example.com', true],
    ['example.com', 'notexample.com', false],
    ['S3.Example.com', 's3.example.com', true],
    ['other, s3.example.com', 's3.example.com', true],
    ['s3.example.com:443', 's3.example.com', true],
    ['s3.example.com:9000', 's3.example.com', false],
    ['10.1.2.3', '10.1.2.3', true],
    ['10.0.0.0/8', '10.1.2.3', true],
    ['10.0.0.0/8', '11.1.2.3', false],
    ['10.0.0.0/99', '10.1.2.3', false],
    ['10.0.0.0/8', 's3.example.com', false],
    ['fd00::/8', 'fd12::1', true],
    ['fd00::/8', '10.1.2.3', false],
    [',', 's3.example.com', false],
  ])('NO_PROXY=%s and %s: %s', (noProxy, host, straight) => {
    expect(hostFor({ ...both, NO_PROXY: noProxy }, { ...s3, host }) === undefined).toBe(straight);
  });

  it.each(['socks5://h:1080', 'http://', 'http://user:%zz@hidden'])(
    'refuses %s without showing it',
    (text) => {
      for (const look of [
        () => proxyFor(new Redacted(text), s3, {}),
        () => proxyFor('environment', s3, { HTTPS_PROXY: text }),
      ]) {
        expect(look).toThrow(expect.objectContaining({ code: 'usage', hint: expect.any(String) }));
        expect(look).not.toThrow(/hidden|1080/);
      }
    },
  );

  it('is shown without user and password', () => {
    expect(shownProxy(new URL('http://user:word@proxy'))).toBe('proxy:80');
    expect(shownProxy(new URL('https://proxy'))).toBe('proxy:443');
    expect(shownProxy(new URL('http://proxy:3128'))).toBe('proxy:3128');
  });
});
