import type { SecureContextOptions } from 'node:tls';
import { Agent, type buildConnector, type Dispatcher, ProxyAgent, Socks5ProxyAgent } from 'undici';

const POOL = {
  /** Enough for the few calls of a save, and kind to the API server. */
  connections: 4,
  allowH2: false,
} as const;

/** What a kubeconfig says about TLS, by value: two that are equal may share connections. */
export interface TlsMaterial
  extends Pick<SecureContextOptions, 'ca' | 'cert' | 'key' | 'passphrase' | 'pfx'> {
  readonly rejectUnauthorized?: boolean | undefined;
  readonly servername?: string | undefined;
}

/**
 * One pool for all calls; the Kubernetes library itself would open a new TLS connection for each.
 * @param proxyUrl the kubeconfig's own `proxy-url`; the proxy environment is never followed
 */
export function openPool(tls: TlsMaterial, proxyUrl: string | undefined): Dispatcher {
  const connect = connectOptions(tls);
  if (proxyUrl === undefined || proxyUrl === '') return new Agent({ ...POOL, connect });
  if (proxyUrl.startsWith('socks')) return new Socks5ProxyAgent(proxyUrl, { ...POOL, requestTls: connect });
  return new ProxyAgent({ ...POOL, uri: proxyUrl, requestTls: connect });
}

function connectOptions(tls: TlsMaterial): buildConnector.BuildOptions {
  const given = Object.entries(tls).filter(([, value]) => value !== undefined);
  return { ...Object.fromEntries(given), keepAlive: true, keepAliveInitialDelay: 30_000 };
}
