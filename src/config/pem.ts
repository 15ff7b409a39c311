import { X509Certificate } from 'node:crypto';

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** The certificates of a text, a PEM block each, with whatever stands between them left out. */
export function certificatesIn(text: string): readonly string[] {
  return text.match(CERTIFICATE) ?? [];
}

/** What a PEM block holds, or the error when it is no certificate, whatever it claims. */
export function readCertificate(pem: string): X509Certificate | Error {
  try {
    return new X509Certificate(pem);
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/**
 * The same text with each certificate as one word, base64 of its PEM block, for a list that is separated by blanks. The lines of
 * a block may have become blanks on their way through a shell or YAML.
 */
export function withInlineCertificates(text: string): string {
  return text.replaceAll(CERTIFICATE, (block) => {
    const [, body = ''] = /-----BEGIN CERTIFICATE-----([^-]+)/.exec(block) ?? [];
    const lines = body.replaceAll(/\s+/g, '').match(/.{1,64}/g) ?? [];
    const pem = `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
    return ` ${Buffer.from(pem).toString('base64')} `;
  });
}
