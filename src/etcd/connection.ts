import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext, type SecureContext } from 'node:tls';
import type { EtcdSettings } from '../config/types.ts';
import { asError, SnapshotError, systemCode } from '../errors.ts';

/** Where one etcd member is, and what to show it. */
export interface EtcdTarget {
  readonly url: URL;
  /** Undefined for plain http. */
  readonly secureContext: SecureContext | undefined;
}

/**
 * Reads the certificates anew, so that rotated ones are picked up, and checks what can be checked without a connection.
 * @throws SnapshotError `usage` | `tls` naming the flag and the file
 */
export async function loadTarget(settings: EtcdSettings, now: Date): Promise<EtcdTarget> {
  const url = parseEndpoint(settings.endpoints[0]);
  if (url.protocol === 'http:') return { url, secureContext: undefined };
  if ((settings.certFile === undefined) !== (settings.keyFile === undefined)) {
    throw new SnapshotError('usage', 'The client certificate of etcd is incomplete', {
      why: settings.certFile === undefined ? '--etcd-keyfile is set alone' : '--etcd-certfile is set alone',
      hint: 'Give --etcd-certfile and --etcd-keyfile together.',
    });
  }
  const [ca, cert, key] = await Promise.all([
    readPem('--etcd-cafile', settings.caFile),
    readPem('--etcd-certfile', settings.certFile),
    readPem('--etcd-keyfile', settings.keyFile),
  ]);
  if (cert !== undefined && key !== undefined) checkPair({ cert, key }, settings, now);
  try {
    const secureContext = createSecureContext({
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined || key === undefined ? {} : { cert, key }),
      minVersion: 'TLSv1.2',
    });
    return { url, secureContext };
  } catch (error) {
    throw new SnapshotError('tls', 'The certificates for etcd cannot be used', {
      why: `${asError(error).message} (${settings.certFile}, ${settings.keyFile}, ${settings.caFile})`,
      hint: 'Each file must hold PEM, and the key must belong to the certificate.',
      cause: error,
    });
  }
}

function parseEndpoint(endpoint: string | undefined): URL {
  const url = endpoint === undefined ? null : URL.parse(endpoint);
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    throw new SnapshotError(
      'usage',
      `--etcd-servers: ${JSON.stringify(endpoint ?? '')} is not an address of etcd`,
      {
        why: 'an address is https://host:port, or http://host:port for an etcd without TLS',
        hint: 'Give for instance --etcd-servers https://127.0.0.1:2379.',
      },
    );
  }
  return url;
}

async function readPem(flag: string, path: string | undefined): Promise<Buffer | undefined> {
  if (path === undefined) return undefined;
  try {
    return await readFile(path);
  } catch (error) {
    const missing = systemCode(error) === 'ENOENT';
    throw new SnapshotError('tls', `${flag}: cannot read ${path}`, {
      why: missing ? 'there is no such file' : asError(error).message,
      hint: missing
        ? `Set ${flag}, or --distribution and --data-dir if this node keeps its certificates elsewhere.`
        : 'Run as a user who may read the keys of etcd (usually root).',
      cause: error,
    });
  }
}

/** What is wrong with the pair would only show as a handshake that etcd breaks off; here it gets its name. */
function checkPair(
  pair: { readonly cert: Buffer; readonly key: Buffer },
  { certFile, keyFile }: EtcdSettings,
  now: Date,
): void {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(pair.cert);
  } catch (error) {
    throw new SnapshotError('tls', `--etcd-certfile: ${certFile} holds no certificate`, {
      why: asError(error).message,
      hint: 'Give a PEM file with the client certificate of etcd.',
      cause: error,
    });
  }
  if (certificate.validToDate < now || certificate.validFromDate > now) {
    throw new SnapshotError('tls', `--etcd-certfile: the client certificate ${certFile} is not valid now`, {
      why: `it is valid from ${certificate.validFromDate.toISOString()} to ${certificate.validToDate.toISOString()}`,
      hint: 'Renew the certificate, or correct the clock of this node.',
    });
  }
  let key: KeyObject;
  try {
    key = createPrivateKey(pair.key);
  } catch (error) {
    throw new SnapshotError('tls', `--etcd-keyfile: ${keyFile} holds no key that can be read`, {
      why: asError(error).message,
      hint: 'Give a PEM file with the key of the client certificate, without a passphrase.',
      cause: error,
    });
  }
  if (certificate.checkPrivateKey(key)) return;
  throw new SnapshotError('tls', '--etcd-keyfile: the key does not belong to the client certificate', {
    why: `${keyFile} is the key of another certificate than ${certFile}`,
    hint: 'Give --etcd-certfile and --etcd-keyfile the two files of one certificate.',
  });
}
