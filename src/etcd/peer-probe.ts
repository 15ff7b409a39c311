import { request } from 'node:http';
import { connect } from 'node:tls';

/** A member in the same network answers within milliseconds; a machine that is switched off never does. */
const ANSWER_MS = 2_000;
/**
 * Alerts of who wants another certificate than none (RFC 8446, section 6): handshake_failure, bad_certificate to
 * certificate_unknown, unknown_ca, access_denied, certificate_required. What does not speak TLS sends none.
 */
const ABOUT_CERTIFICATES: readonly number[] = [40, 42, 43, 44, 45, 46, 48, 49, 116];

/**
 * Whether a member of an etcd answers at the address that it has for other members. Over http it says so itself (`/members`, with
 * the id of its cluster in a header); over https members ask for a certificate that we need not have, so that a handshake has to do.
 * @param url `http(s)://host:port`
 */
export async function answersAsMember(url: string, signal: AbortSignal): Promise<boolean> {
  const address = URL.parse(url);
  if (address === null) return false;
  const inner = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]);
  return address.protocol === 'https:' ? shakesHands(address, inner) : saysMembers(address, inner);
}

async function saysMembers(address: URL, signal: AbortSignal): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const call = request(new URL('/members', address), { signal }, (answer) => {
    resolve(answer.headers['x-etcd-cluster-id'] !== undefined);
    answer.destroy();
  });
  call.once('error', () => resolve(false));
  call.end();
  return promise;
}

async function shakesHands({ hostname, port }: URL, signal: AbortSignal): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({
    host: hostname.replaceAll(/^\[|\]$/g, ''),
    port: Number(port),
    // Nothing is told to it, and who else would listen there is told to the user either way.
    rejectUnauthorized: false,
  });
  const stop = () => resolve(false);
  signal.addEventListener('abort', stop, { once: true });
  socket.once('secureConnect', () => resolve(true));
  // Before TLS 1.3 it is an alert in the middle of the handshake that asks for a certificate.
  socket.once('error', ({ message }) => {
    resolve(ABOUT_CERTIFICATES.includes(Number(/SSL alert number (\d+)/.exec(message)?.[1])));
  });
  try {
    return await promise;
  } finally {
    signal.removeEventListener('abort', stop);
    socket.destroy();
  }
}
