import { createDecipheriv, pbkdf2Sync } from 'node:crypto';
import { asError, SnapshotError } from '../errors.ts';

const ITERATIONS = 4096;
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Files of the server folder by the names that K3s gives their content. */
const PATHS: Readonly<Record<string, string>> = {
  ETCDServerCA: 'tls/etcd/server-ca.crt',
  ETCDServerCAKey: 'tls/etcd/server-ca.key',
  ETCDPeerCA: 'tls/etcd/peer-ca.crt',
  ETCDPeerCAKey: 'tls/etcd/peer-ca.key',
  ServerCA: 'tls/server-ca.crt',
  ServerCAKey: 'tls/server-ca.key',
  ClientCA: 'tls/client-ca.crt',
  ClientCAKey: 'tls/client-ca.key',
  ServiceKey: 'tls/service.key',
  PasswdFile: 'cred/passwd',
  RequestHeaderCA: 'tls/request-header-ca.crt',
  RequestHeaderCAKey: 'tls/request-header-ca.key',
  IPSECKey: 'cred/ipsec.psk',
  EncryptionConfig: 'cred/encryption-config.json',
  EncryptionHash: 'cred/encryption-state.json',
};

export interface BootstrapFile {
  /** Inside the server folder. */
  readonly path: string;
  readonly content: Buffer;
  /** When it was made; undefined in the older form. */
  readonly mtime: Date | undefined;
}

/**
 * Certificates and secrets of a K3s or RKE2 cluster, as it keeps them in etcd: `<salt>:<base64 of nonce, text, tag>`, encrypted by
 * AES-256-GCM with a key that PBKDF2-HMAC-SHA1 makes of the token's password and the salt, whose hex digits count as bytes.
 * @throws SnapshotError `corrupt`, which a wrong password looks like
 */
export function decryptBootstrap(value: string, password: string): BootstrapFile[] {
  const colon = value.indexOf(':');
  try {
    const sealed = Buffer.from(value.slice(colon + 1), 'base64');
    if (colon < 1 || sealed.length < NONCE_BYTES + TAG_BYTES) throw new Error('it is cut off');
    const key = pbkdf2Sync(password, value.slice(0, colon), ITERATIONS, KEY_BYTES, 'sha1');
    const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, NONCE_BYTES), {
      authTagLength: TAG_BYTES,
    });
    decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
    const text = Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
    return filesIn(JSON.parse(text.toString()));
  } catch (error) {
    throw new SnapshotError('corrupt', 'The bootstrap data in the snapshot cannot be decrypted', {
      why: asError(error).message,
      hint: 'Give the token that the cluster had when the snapshot was taken; if it is that one, take another snapshot.',
      cause: error,
    });
  }
}

/** `{name: {Timestamp, Content}}`, or `{name: content}` as older servers wrote it; what is unknown is left out. */
function filesIn(document: unknown): BootstrapFile[] {
  if (typeof document !== 'object' || document === null) throw new Error('it is no JSON object');
  return Object.entries(document).flatMap(([name, entry]: [string, unknown]) => {
    const path = Object.hasOwn(PATHS, name) ? PATHS[name] : undefined;
    if (path === undefined) return [];
    if (typeof entry === 'string') return [{ path, content: Buffer.from(entry, 'base64'), mtime: undefined }];
    const content: unknown =
      typeof entry === 'object' && entry !== null ? Reflect.get(entry, 'Content') : undefined;
    const time: unknown =
      typeof entry === 'object' && entry !== null ? Reflect.get(entry, 'Timestamp') : undefined;
    if (typeof content !== 'string') throw new Error(`${name} has no content`);
    const mtime = new Date(typeof time === 'string' ? time : Number.NaN);
    return [
      {
        path,
        content: Buffer.from(content, 'base64'),
        mtime: Number.isNaN(mtime.getTime()) ? undefined : mtime,
      },
    ];
  });
}
