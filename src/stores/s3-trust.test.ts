import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { expect, it } from 'vitest';
import { trustedAuthorities } from './s3-trust.ts';

const [one = '', two = ''] = rootCertificates;
const NONE = { ca: [], loaded: [] };
const inline = (pem: string) => Buffer.from(pem).toString('base64');

it('is undefined without a CA of our own', () => {
  expect(trustedAuthorities('')).toBeUndefined();
  expect(trustedAuthorities('  ')).toBeUndefined();
});

it('takes bundles of several certificates, with text between', () => {
  const { ca, loaded } = trustedAuthorities(inline(`# first\n${one}\n# second\n${two}\n`)) ?? NONE;
  expect(ca.slice(-2)).toEqual([one, two]);
  expect(ca.length).toBeGreaterThan(2);
  expect(loaded).toHaveLength(2);
  expect(loaded[0]).toMatch(/^C=.*\(of a base64 bundle of --s3-endpoint-ca, until 20\d\d-\d\d-\d\d\)$/);
});

it.each([
  ['/no/such/ca.crt', 'io', /\/no\/such\/ca\.crt/],
  [join(import.meta.dirname, 's3-keys.ts'), 'usage', /no certificate in .*s3-keys\.ts/],
  [inline('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'), 'usage', /cannot be read/],
  [inline('-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n'), 'usage', /no certificate/],
])('refuses %s', (item, code, message) => {
  expect(() => trustedAuthorities(item)).toThrow(
    expect.objectContaining({
      code,
      message: expect.stringMatching(message),
      hint: expect.stringMatching(/--s3/),
    }),
  );
});
