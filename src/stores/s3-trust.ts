import { readFileSync } from 'node:fs';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { certificatesIn, readCertificate } from '../config/pem.ts';
import { SnapshotError } from '../errors.ts';

export interface Authorities {
  /** PEM blocks: those that are trusted anyway, and ours. */
  readonly ca: readonly string[];
  /** A line for each of ours: subject, where it is from and until when it is valid. */
  readonly loaded: readonly string[];
}

interface Loaded {
  readonly pem: string;
  readonly text: string;
}

let machineIsTrusted = false;

/**
 * Has Node trust the CAs of this machine beside those that it brings along: `SSL_CERT_FILE` and `SSL_CERT_DIR`, or the system's
 * own files. Everything over TLS that names no CAs of its own does so from then on, the service that hands out keys too. Done
 * once, when TLS is first needed: it takes some 50 ms, and a file that changes later is not seen.
 */
export function trustMachine(): void {
  if (machineIsTrusted) return;
  machineIsTrusted = true;
  const known = new Set(getCACertificates('default'));
  const all = new Set([...known, ...getCACertificates('system')]);
  if (all.size > known.size) setDefaultCACertificates([...all]);
}

/**
 * The CAs to trust for an S3 endpoint: those that are trusted anyway and those of `--s3-endpoint-ca`, a space-separated
 * list of base64 PEM bundles and file paths. Undefined when the list is empty.
 * @throws SnapshotError `usage` | `io`, naming the item that is wrong
 */
export function trustedAuthorities(endpointCA: string): Authorities | undefined {
  const items = endpointCA.split(/\s+/).filter((item) => item !== '');
  if (items.length === 0) return undefined;
  const ours = items.flatMap(certificatesOf);
  return {
    ca: [...getCACertificates('default'), ...ours.map(({ pem }) => pem)],
    loaded: ours.map(({ text }) => text),
  };
}

function certificatesOf(item: string): readonly Loaded[] {
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
  return found.map((pem) => ({ pem, text: describeCertificate(pem, source) }));
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

function describeCertificate(pem: string, source: string): string {
  const certificate = readCertificate(pem);
  if (certificate instanceof Error) {
    throw new SnapshotError('usage', `A certificate in ${source} cannot be read`, {
      cause: certificate,
      hint: 'Correct --s3-endpoint-ca.',
    });
  }
  const subject = certificate.subject.replaceAll('\n', ', ');
  return `${subject} (of ${source}, until ${certificate.validToDate.toISOString().slice(0, 10)})`;
}
