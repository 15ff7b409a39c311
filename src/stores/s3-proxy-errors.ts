import { systemCode } from '../errors.ts';
import type { Failure } from './s3-failure.ts';
import type { Translation } from './s3-translations.ts';

const away: Translation = {
  code: 'unavailable',
  why: ({ proxy }) => `the proxy ${proxy} cannot be reached`,
  hint: 'Check --s3-proxy, or HTTP_PROXY and HTTPS_PROXY; --s3-proxy=none goes without one.',
  retryable: true,
};
const wantsUser: Translation = {
  code: 'unauthenticated',
  why: ({ proxy }) => `the proxy ${proxy} does not take these credentials, or wants some`,
  hint: 'Write them as --s3-proxy=http://user:password@host:port.',
};
const refuses: Translation = {
  code: 'forbidden',
  why: ({ proxy, endpoint }) => `the proxy ${proxy} refuses to connect to ${endpoint}`,
  hint: 'Allow this endpoint in the proxy, or go without it: --s3-proxy=none, or NO_PROXY.',
};
const noWayOn: Translation = {
  code: 'unavailable',
  why: ({ proxy, endpoint }, { tunnelStatus }) =>
    `the proxy ${proxy} did not connect to ${endpoint}${tunnelStatus === undefined ? '' : ` (HTTP ${tunnelStatus})`}`,
  hint: 'Check that the proxy can reach --s3-endpoint, or go without it: --s3-proxy=none, or NO_PROXY.',
  retryable: true,
};

/** Failures to connect are the proxy's when there is one on the way: nobody else was spoken to. */
const TO_CONNECT: readonly string[] = [
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
];

/** What a failure on a way through a proxy means; undefined when it has nothing to do with the proxy. */
export function viaProxy(error: unknown, failure: Failure): Translation | undefined {
  const code = systemCode(error) ?? '';
  if (TO_CONNECT.includes(code)) return away;
  if (failure.status === 407) return wantsUser;
  if (code !== 'ERR_PROXY_TUNNEL') return undefined;
  if (failure.tunnelStatus === 407) return wantsUser;
  return failure.tunnelStatus === 403 ? refuses : noWayOn;
}
