import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY = 86_400_000;

x509.cryptoProvider.set(webcrypto);

export interface Pair {
  readonly certFile: string;
  readonly keyFile: string;
  readonly cert: string;
  readonly key: string;
}

export interface IssueOptions {
  /** DNS names and IP addresses; default localhost and the loopback addresses. Empty: no such list at all. */
  readonly hosts?: readonly string[];
  readonly client?: boolean;
  /** Becomes the Kubernetes group. */
  readonly organization?: string;
  /** Signed by its own key, as many servers make one at their first start. */
  readonly selfSigned?: boolean;
  readonly notBefore?: Date;
  readonly notAfter?: Date;
}

export interface Authority {
  readonly caFile: string;
  readonly pem: string;
  issue(name: string, options?: IssueOptions): Promise<Pair>;
}

/** A private CA whose files lie in `dir`. */
export async function certificateAuthority(dir: string, name: string): Promise<Authority> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=${name} CA`,
    keys,
    signingAlgorithm: ALGORITHM,
    notBefore: new Date(Date.now() - DAY),
    notAfter: new Date(Date.now() + 365 * DAY),
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const pem = `${root.toString('pem')}\n`;
  const caFile = join(dir, `${name}-ca.crt`);
  await writeFile(caFile, pem);
  let serial = 1;
  return {
    caFile,
    pem,
    async issue(subject, options = {}) {
      serial += 1;
      const leaf = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
      const hosts = options.hosts ?? ['localhost', '127.0.0.1', '::1'];
      const usages = [
        x509.ExtendedKeyUsage.serverAuth,
        ...(options.client === true ? [x509.ExtendedKeyUsage.clientAuth] : []),
      ];
      const organization = options.organization === undefined ? '' : `, O=${options.organization}`;
      const certificate = await x509.X509CertificateGenerator.create({
        serialNumber: serial.toString(16).padStart(4, '0'),
        subject: `CN=${subject}${organization}`,
        issuer: options.selfSigned === true ? `CN=${subject}${organization}` : root.subject,
        notBefore: options.notBefore ?? new Date(Date.now() - DAY),
        notAfter: options.notAfter ?? new Date(Date.now() + 30 * DAY),
        signingKey: options.selfSigned === true ? leaf.privateKey : keys.privateKey,
        publicKey: leaf.publicKey,
        signingAlgorithm: ALGORITHM,
        extensions: [
          new x509.BasicConstraintsExtension(false, undefined, true),
          new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
          new x509.ExtendedKeyUsageExtension(usages),
          ...(hosts.length === 0
            ? []
            : [
                new x509.SubjectAlternativeNameExtension(
                  hosts.map((value) => ({
                    type: isIP(value) === 0 ? ('dns' as const) : ('ip' as const),
                    value,
                  })),
                ),
              ]),
        ],
      });
      const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', leaf.privateKey)).toString(
        'base64',
      );
      const cert = `${certificate.toString('pem')}\n`;
      const key = `-----BEGIN PRIVATE KEY-----\n${pkcs8.replace(/(.{64})/g, '$1\n').trim()}\n-----END PRIVATE KEY-----\n`;
      const certFile = join(dir, `${name}-${subject.replace(/\W/g, '-')}-${serial}.crt`);
      const keyFile = certFile.replace(/crt$/, 'key');
      await Promise.all([writeFile(certFile, cert), writeFile(keyFile, key, { mode: 0o600 })]);
      return { certFile, keyFile, cert, key };
    },
  };
}
