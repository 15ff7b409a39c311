import { createHash } from 'node:crypto';
import { SnapshotError } from '../errors.ts';

const HASH_DIGITS = 12;

/**
 * First 12 hex digits of the SHA-256 of the password in a K3s or RKE2 server token; it tells which token belongs to a
 * snapshot without giving it away. Forms: `K10<CA hash>::<user>:<password>` or a bare password; blanks around are cut.
 * @throws SnapshotError `usage` for a token that cannot have made a server
 */
export function tokenHash(token: string): string {
  return createHash('sha256').update(tokenPassword(token)).digest('hex').slice(0, HASH_DIGITS);
}

/** The part of a token that encrypts the bootstrap data. @throws as `tokenHash` */
export function tokenPassword(given: string): string {
  const token = given.trim();
  const normal = token.startsWith('K10') ? token : `K10:::${token}`;
  const [caHash = '', ...rest] = normal.slice('K10'.length).split('::');
  const credentials = rest.join('::');
  const password = credentials.slice(credentials.indexOf(':') + 1);
  const wellFormed =
    (caHash === '' || /^[0-9a-f]{64}$/i.test(caHash)) && credentials.includes(':') && password !== '';
  if (!wellFormed) {
    throw new SnapshotError('usage', 'The server token cannot be read', {
      why: 'a token is a password, or K10<hash of the CA>::<user>:<password>',
      hint: 'Compare the token file of this node with that of the first server.',
    });
  }
  return password;
}
