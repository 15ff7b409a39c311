import { createCipheriv, createHash, pbkdf2Sync, randomBytes } from 'node:crypto';

/** A key and a value as K3s keeps its certificates in etcd. */
export function k3sBootstrap(document: object, password: string): [key: string, value: string] {
  const salt = randomBytes(8).toString('hex');
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', pbkdf2Sync(password, salt, 4096, 32, 'sha1'), nonce);
  const sealed = Buffer.concat([
    nonce,
    cipher.update(JSON.stringify(document)),
    cipher.final(),
    cipher.getAuthTag(),
  ]);
  return [`/bootstrap/${hashOf(password)}`, `${salt}:${sealed.toString('base64')}`];
}

export function hashOf(password: string): string {
  return createHash('sha256').update(password).digest('hex').slice(0, 12);
}
