import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { certificateAuthority } from '../../test/support/certificates.ts';
import { scratchDir } from '../../test/support/scratch.ts';
import { trustedAuthorities } from './s3-trust.ts';

const [one = '', two = ''] = rootCertificates;
const NONE = { ca: [], loaded: [] };
const inline = (pem: string) => Buffer.from(pem).toString('base64');

it('is undefined without a CA of our own', () => {
  expect(trustedAuthorities('')).toBeUndefined();
  expect(trustedAuthorities('  ')).toBeUndefined();
});

it('has Node trust the CAs of the machine too, with and without a CA of our own', async () => {
  await using scratch = await scratchDir('trust-');
  const { pem } = await certificateAuthority(scratch.path, 'of this machine');
  const file = join(scratch.path, 'machine.crt');
  await writeFile(file, pem);
  const script = `
    import { getCACertificates } from 'node:tls';
    import { openRoute } from '${import.meta.dirname}/s3-session.ts';
    import { trustedAuthorities } from '${import.meta.dirname}/s3-trust.ts';
    const settings = { endpoint: 's3.example.com', endpointCA: '', bucket: 'b', region: 'r', proxy: 'none', lookup: 'path' };
    const has = (all) => all.some((one) => one.trim() === process.env.ONE.trim());
    const before = has(getCACertificates('default'));
    openRoute(settings, 1000, {});
    const ours = trustedAuthorities(process.env.OURS);
    console.log(JSON.stringify([before, has(getCACertificates('default')), has(ours.ca)]));`;
  const run = promisify(execFile);
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], {
    env: { SSL_CERT_FILE: file, SSL_CERT_DIR: scratch.path, ONE: pem, OURS: inline(one) },
  });
  expect(JSON.parse(stdout)).toEqual([false, true, true]);
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
