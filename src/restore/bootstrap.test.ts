import { createCipheriv, pbkdf2Sync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { decryptBootstrap } from './bootstrap.ts';

function sealed(text: string, password: string, salt = '0011223344556677'): string {
  const key = pbkdf2Sync(password, salt, 4096, 32, 'sha1');
  const cipher = createCipheriv('aes-256-gcm', key, Buffer.alloc(12));
  const body = Buffer.concat([cipher.update(text), cipher.final()]);
  return `${salt}:${Buffer.concat([Buffer.alloc(12), body, cipher.getAuthTag()]).toString('base64')}`;
}

describe('decryptBootstrap', () => {
  it('reads what K3s wrote', () => {
    const written = '0011223344556677:AAAAAAAAAAAAAAAAdVdDwbx3SZdfm8shzQJBErcm';
    expect(decryptBootstrap(written, 'secret')).toEqual([]);
    expect(sealed('{}', 'secret')).toBe(written);
  });

  it('gives each file its place and time, in the newer form and in the older one', () => {
    const content = Buffer.from('-----BEGIN').toString('base64');
    const document = {
      ServerCA: { Timestamp: '2024-10-30T17:20:16.123456789Z', Content: content },
      PasswdFile: content,
      Unknown: { Content: content },
    };
    expect(decryptBootstrap(sealed(JSON.stringify(document), 'secret'), 'secret')).toEqual([
      {
        path: 'tls/server-ca.crt',
        content: Buffer.from('-----BEGIN'),
        mtime: new Date('2024-10-30T17:20:16.123Z'),
      },
      { path: 'cred/passwd', content: Buffer.from('-----BEGIN'), mtime: undefined },
    ]);
  });

  it.each([
    ['with another password', sealed('{}', 'other')],
    ['cut off', '0011223344556677:AAAA'],
    ['without a salt', 'AAAAAAAAAAAAAAAA'],
    ['that is no JSON', sealed('no', 'secret')],
    ['with a file without content', sealed('{"ServerCA":{}}', 'secret')],
  ])('refuses data %s', (_what, value) => {
    expect(() => decryptBootstrap(value, 'secret')).toThrow('cannot be decrypted');
  });
});
