import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { expect, it } from 'vitest';
import { trustedAuthorities } from './s3-trust.ts';

const [one = '', two = ''] = rootCertificates;
const inline = (pem: string) => Buffer.from(pem).toString('base64');

it('is undefined without a CA of our own', () => {
  expect(trustedAuthorities('')).toBeUndefined();
  expect(trustedAuthorities('  ')).toBeUndefined();
});

it('takes bundles of several certificates, with text between', () => {
  const all = trustedAuthorities(inline(`# first\n${one}\n# second\n${two}\n`)) ?? [];
  expect(all.slice(-2)).toEqual([one, two]);
  expect(all.length).toBeGreaterThan(2);
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
