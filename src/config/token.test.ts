import { describe, expect, it } from 'vitest';
import { tokenHash } from './token.ts';

const caHash = 'a'.repeat(64);

describe('tokenHash', () => {
  it.each([
    ['a bare password', 'secret'],
    ['with the blank line of a file', 'secret\n'],
    ['the full form', `K10${caHash}::server:secret`],
    ['without the hash of the CA', 'K10::server:secret'],
  ])('hashes only the password: %s', (_form, token) => {
    expect(tokenHash(token)).toBe('2bb80d537b1d');
  });

  it('keeps colons that belong to the password', () => {
    expect([tokenHash('K10::server:a:b'), tokenHash('a:b')]).toEqual(['6783a31eabf6', '6783a31eabf6']);
    expect([tokenHash('K10::server:a::b'), tokenHash('a::b')]).toEqual(['78f0be89237d', '78f0be89237d']);
  });

  it.each([
    [''],
    ['K10'],
    ['K10::server:'],
    [`K10${'a'.repeat(10)}::server:secret`],
    [`K10${caHash}::id.secret`],
  ])('refuses %j without showing it', (token) => {
    expect(() => tokenHash(token)).toThrowError(
      expect.objectContaining({ code: 'usage', message: 'The server token cannot be read' }),
    );
  });
});
