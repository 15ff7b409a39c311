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
