import type { SecureContextOptions } from 'node:tls';
import { Agent, type buildConnector, type Dispatcher, ProxyAgent, Socks5ProxyAgent } from 'undici';

/** Enough for the few calls of a save, and kind to the API server. */
const CALLS_AT_ONCE = 4;
/** A Lease and the two facts that a save waits for: none of them holds another up. */
const URGENT_AT_ONCE = 3;

/** What a kubeconfig says about TLS, by value: two that are equal may share connections. */
export interface TlsMaterial
  extends Pick<SecureContextOptions, 'ca' | 'cert' | 'key' | 'passphrase' | 'pfx'> {
  readonly rejectUnauthorized?: boolean | undefined;
  readonly servername?: string | undefined;
}

export interface Pools {
  readonly calls: Dispatcher;
  /** Each watch keeps a connection for itself, for minutes: as many as there are watches. */
  readonly watches: Dispatcher;
  /** For what has a deadline and must not queue behind slow calls. */
  readonly urgent: Dispatcher;
}

/**
 * Connections that all calls and watches share; the Kubernetes library itself would open a new one for each.
 * @param proxyUrl the kubeconfig's own `proxy-url`; the proxy environment is never followed
 */
export function openPools(tls: TlsMaterial, proxyUrl: string | undefined): Pools {
  return {
    calls: openPool(tls, proxyUrl, CALLS_AT_ONCE),
    watches: openPool(tls, proxyUrl, null),
    urgent: openPool(tls, proxyUrl, URGENT_AT_ONCE),
  };
}

function openPool(tls: TlsMaterial, proxyUrl: string | undefined, connections: number | null): Dispatcher {
  const options = { connections, allowH2: false };
  const connect = connectOptions(tls);
  if (proxyUrl === undefined || proxyUrl === '') return new Agent({ ...options, connect });
  const through = { ...options, requestTls: connect };
  if (proxyUrl.startsWith('socks')) return new Socks5ProxyAgent(proxyUrl, through);
  return new ProxyAgent({ ...through, uri: proxyUrl });
}

function connectOptions(tls: TlsMaterial): buildConnector.BuildOptions {
  const given = Object.entries(tls).filter(([, value]) => value !== undefined);
  return { ...Object.fromEntries(given), keepAlive: true, keepAliveInitialDelay: 30_000 };
}
