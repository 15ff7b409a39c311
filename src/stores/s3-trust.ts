import { readFileSync } from 'node:fs';
import { getCACertificates } from 'node:tls';
import { certificatesIn, readCertificate } from '../config/pem.ts';
import { SnapshotError } from '../errors.ts';

/**
 * The CAs to trust for an S3 endpoint: those that Node trusts anyway and those of `--s3-endpoint-ca`, a space-separated
 * list of base64 PEM bundles and file paths. Undefined when the list is empty.
 * @throws SnapshotError `usage` | `io`, naming the item that is wrong
 */
export function trustedAuthorities(endpointCA: string): readonly string[] | undefined {
  const items = endpointCA.split(/\s+/).filter((item) => item !== '');
  if (items.length === 0) return undefined;
  return [...getCACertificates('default'), ...items.flatMap(certificatesOf)];
}

function certificatesOf(item: string): readonly string[] {
  const inline = Buffer.from(item, 'base64').toString('latin1');
  const isInline = inline.includes('-----BEGIN ');
  // What is given inline may be long and is not worth repeating; a path is what the user has to look at.
  const source = isInline ? 'a base64 bundle of --s3-endpoint-ca' : item;
  const found = certificatesIn(isInline ? inline : readBundle(item));
  if (found.length === 0) {
    throw new SnapshotError('usage', `There is no certificate in ${source}`, {
      why: 'a CA bundle is one or more PEM blocks "BEGIN CERTIFICATE"',
      hint: 'Correct --s3-endpoint-ca.',
    });
  }
  for (const pem of found) assertCertificate(pem, source);
  return found;
}

function readBundle(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new SnapshotError('io', `Cannot read the CA file ${path}`, {
      cause: error,
      hint: 'Correct --s3-endpoint-ca: it takes file paths and base64 PEM bundles.',
    });
  }
}

function assertCertificate(pem: string, source: string): void {
  const certificate = readCertificate(pem);
  if (!(certificate instanceof Error)) return;
  throw new SnapshotError('usage', `A certificate in ${source} cannot be read`, {
    cause: certificate,
    hint: 'Correct --s3-endpoint-ca.',
  });
}
