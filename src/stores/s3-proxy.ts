import { BlockList, isIP } from 'node:net';
import type { S3Settings } from '../config/types.ts';
import { SnapshotError } from '../errors.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The proxy for requests to a host, or undefined to go straight. The setting beats the environment and holds for every
 * host; the environment follows Go's rules, as k3s does: never for this machine, and NO_PROXY may hold names, addresses,
 * networks and ports.
 * @throws SnapshotError `usage` for a proxy that is no URL
 */
export function proxyFor(
  proxy: S3Settings['proxy'],
  target: { readonly host: string; readonly port: number; readonly secure: boolean },
  env: Environment,
): URL | undefined {
  if (proxy === 'none') return undefined;
  if (proxy !== 'environment') return proxyUrl(proxy.reveal(), '--s3-proxy');
  const variable = target.secure ? 'HTTPS_PROXY' : 'HTTP_PROXY';
  const text = variableOf(env, variable);
  const host = target.host.toLowerCase().replace(/\.$/, '');
  if (text === '' || isThisMachine(host)) return undefined;
  if (goesStraight(variableOf(env, 'NO_PROXY'), host, target.port)) return undefined;
  return proxyUrl(/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`, variable);
}

/** `host:port`, for messages: without user and password. */
export function shownProxy(url: URL): string {
  return `${url.hostname}:${url.port || (url.protocol === 'https:' ? '443' : '80')}`;
}

function proxyUrl(text: string, source: string): URL {
  const url = URL.parse(text);
  if (url !== null && /^https?:$/.test(url.protocol) && url.hostname !== '' && isDecodable(url)) return url;
  // Never shown: there may be a password in it.
  throw new SnapshotError('usage', `${source} is no proxy that can be used`, {
    why: 'it is no URL http://host:port or https://host:port',
    hint: `Correct ${source}, or set --s3-proxy.`,
  });
}

/** Node decodes both for its header, and throws what it finds. */
function isDecodable(url: URL): boolean {
  return !/%(?![0-9a-f]{2})/i.test(`${url.username}${url.password}`);
}

function variableOf(env: Environment, name: string): string {
  return (env[name.toLowerCase()] || env[name] || '').trim();
}

function isThisMachine(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d+){3}$/.test(host);
}

function goesStraight(noProxy: string, host: string, port: number): boolean {
  return noProxy
    .split(',')
    .map((entry) => entry.trim().toLowerCase())
    .some((entry) => entry !== '' && matches(entry, host, port));
}

function matches(entry: string, host: string, port: number): boolean {
  if (entry === '*') return true;
  if (entry.includes('/')) return isInNetwork(entry, host);
  if (isIP(entry) !== 0) return entry === host;
  const [, name = '', ofPort] = /^(.*?)(?::(\d+))?$/.exec(entry) ?? [];
  if (ofPort !== undefined && Number(ofPort) !== port) return false;
  const pattern = name.replace(/^\*/, '').replace(/^\[(.*)\]$/, '$1');
  if (pattern === '') return false;
  if (pattern.startsWith('.')) return host.endsWith(pattern);
  return host === pattern || host.endsWith(`.${pattern}`);
}

function isInNetwork(network: string, host: string): boolean {
  const [, address = '', bits = ''] = /^(.*)\/(\d+)$/.exec(network) ?? [];
  const family = isIP(host);
  if (family === 0 || isIP(address) !== family || Number(bits) > (family === 4 ? 32 : 128)) return false;
  const kind = family === 4 ? 'ipv4' : 'ipv6';
  const list = new BlockList();
  list.addSubnet(address, Number(bits), kind);
  return list.check(host, kind);
}
