import type { DetailedPeerCertificate, TLSSocket } from 'node:tls';
import type { ShownCertificate } from '../snapshot/store-check.ts';

/** What a server has shown of itself. */
export interface Presented {
  /** Its own certificate first. */
  readonly chain: readonly ShownCertificate[];
  /** Why it is not to be trusted: a code of Node or OpenSSL. */
  readonly problem: string | undefined;
  readonly validUntil: Date;
}

/** Long enough for every chain that is used, short enough for one that never ends. */
const LONGEST_CHAIN = 10;

/** Of a connection whose handshake is over. */
export function presentedBy(socket: TLSSocket): Presented {
  const own = socket.getPeerCertificate(true);
  const chain: ShownCertificate[] = [];
  const seen = new Set<string>();
  let next: DetailedPeerCertificate | undefined = own;
  // The last one, when it has signed itself, is its own issuer; a server may show none at all.
  while (next?.subject !== undefined && !seen.has(next.fingerprint256) && chain.length < LONGEST_CHAIN) {
    chain.push(shown(next));
    seen.add(next.fingerprint256);
    next = next.issuerCertificate;
  }
  const problem: unknown = socket.authorizationError;
  return {
    chain,
    // Typed as an error, and in truth mostly its code.
    problem: socket.authorized ? undefined : problem instanceof Error ? problem.message : String(problem),
    validUntil: new Date(own.valid_to),
  };
}

/** `CN=minio, issued by CN=s3 CA, valid until 2026-12-24, for DNS:localhost` */
export function describeCertificate([own]: readonly ShownCertificate[]): string {
  if (own === undefined) return 'no certificate at all';
  const { subject, issuer, from, until, names } = own;
  const validity = `valid from ${from.slice(0, 10)} until ${until.slice(0, 10)}`;
  return `${subject}, issued by ${issuer}, ${validity}, for ${names === '' ? 'no host at all' : names}`;
}

function shown(certificate: DetailedPeerCertificate): ShownCertificate {
  return {
    subject: nameOf(certificate.subject),
    issuer: nameOf(certificate.issuer),
    from: timeOf(certificate.valid_from),
    until: timeOf(certificate.valid_to),
    names: certificate.subjectaltname ?? '',
  };
}

function nameOf(name: DetailedPeerCertificate['subject']): string {
  return Object.entries(name)
    .map(([key, value]) => `${key}=${[value].flat().join('+')}`)
    .join(', ');
}

function timeOf(text: string): string {
  const time = new Date(text);
  return Number.isNaN(time.getTime()) ? text : `${time.toISOString().slice(0, 19)}Z`;
}
