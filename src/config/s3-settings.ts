import { isIPv6 } from 'node:net';
import { parseBoolean, parseDuration } from './duration.ts';
import type { Given, Problem } from './flags.ts';
import type { Wording } from './option.ts';
import { withInlineCertificates } from './pem.ts';
import { encryptionOf, objectsOf } from './s3-object-settings.ts';
import { Redacted, type S3Keys, type S3Settings } from './types.ts';

const DEFAULT_ENDPOINT = 's3.amazonaws.com';
const DEFAULT_REGION = 'us-east-1';
const DEFAULT_TIMEOUT_MS = 300_000;
const DEFAULT_STALL_MS = 30_000;
/** Timers of Node count in 31 bits: a longer one would fire at once. */
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;
/** What a header can carry without being read as something else. */
const HEADER_WORD = /^[\x21-\x7e]+$/;

/** The settings of S3 from their texts, which have been checked one by one. What is wrong is added to `problems`. */
export function s3SettingsOf(given: Given, wording: Wording, problems: Problem[]): S3Settings {
  const insecure = parseBoolean(given.s3Insecure ?? 'false') === true;
  const lookup = given.s3BucketLookupType?.toLowerCase();
  const checksums = given.s3Checksums?.toLowerCase();
  return {
    endpoint: endpointOf(given.s3Endpoint ?? DEFAULT_ENDPOINT, insecure, wording, problems),
    endpointCA: endpointCAOf(given.s3EndpointCA ?? '', wording, problems),
    skipSSLVerify: parseBoolean(given.s3SkipSSLVerify ?? 'false') === true,
    insecure,
    keys: keysOf(given, wording, problems),
    bucket: bucketOf(given.s3Bucket, wording, problems),
    region: regionOf(given.s3Region ?? DEFAULT_REGION, wording, problems),
    folder: folderOf(given.s3Folder ?? '', wording, problems),
    timeoutMs: Math.min(parseDuration(given.s3Timeout ?? '') ?? DEFAULT_TIMEOUT_MS, LONGEST_TIMEOUT_MS),
    stallMs: Math.min(parseDuration(given.s3StallTimeout ?? '') ?? DEFAULT_STALL_MS, LONGEST_TIMEOUT_MS),
    proxy: proxyOf(given.s3Proxy, wording, problems),
    lookup: lookup === 'dns' || lookup === 'path' ? lookup : 'auto',
    checksums: checksums === 'when-supported' ? checksums : 'when-required',
    encryption: encryptionOf(given, insecure, wording, problems),
    objects: objectsOf(given, wording, problems),
  };
}

/**
 * How many snapshots stay on S3, as far as flags and files say it.
 * @param typed what was typed for this run: a retention then means both places, whatever a file or a Secret says of one of them
 */
export function s3RetentionOf(given: Given, typed: Given = {}): number | undefined {
  const ofBoth =
    (typed.s3Retention ?? '') === '' && (typed.retention ?? '') !== '' ? typed.retention : undefined;
  const text = ofBoth ?? given.s3Retention;
  return text === undefined ? undefined : Number(text);
}

function keysOf(given: Given, { name }: Wording, problems: Problem[]): S3Keys | undefined {
  const words = [given.s3AccessKey, given.s3SecretKey, given.s3SessionToken];
  if (words.every((word) => word === undefined)) return undefined;
  for (const [key, other] of [
    ['s3AccessKey', 's3SecretKey'],
    ['s3SecretKey', 's3AccessKey'],
  ] as const) {
    if (given[key] !== undefined) continue;
    const present = given[other] === undefined ? 's3SessionToken' : other;
    problems.push({
      what: `${name(present)} is given, and ${name(key)} is missing`,
      cure: 'give both keys, or none to use what the AWS SDK finds by itself',
    });
  }
  for (const key of ['s3AccessKey', 's3SecretKey', 's3SessionToken'] as const) {
    if (HEADER_WORD.test(given[key] ?? '-')) continue;
    problems.push({ what: `${name(key)} has blanks or odd characters in it`, cure: 'copy it once more' });
  }
  const [accessKey = '', secretKey = '', sessionToken] = words;
  return {
    accessKey: new Redacted(accessKey),
    secretKey: new Redacted(secretKey),
    sessionToken: sessionToken === undefined ? undefined : new Redacted(sessionToken),
  };
}

function bucketOf(bucket: string | undefined, { name, shown }: Wording, problems: Problem[]): string {
  const flag = name('s3Bucket');
  if (bucket === undefined) {
    problems.push({ what: `${flag} is missing, and S3 needs it`, cure: `give ${flag}` });
    return '';
  }
  if (!/^[A-Za-z0-9._-]{1,255}$/.test(bucket)) {
    problems.push({
      what: `${flag}${shown(bucket)} is no bucket`,
      cure: `give the name of the bucket alone, and the rest as ${name('s3Folder')}`,
    });
  }
  return bucket;
}

function regionOf(region: string, { name, shown }: Wording, problems: Problem[]): string {
  // It becomes part of a host name, and the SDK insists on that.
  if (!/^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/.test(region)) {
    problems.push({
      what: `${name('s3Region')}${shown(region)} is no region`,
      cure: 'write it as eu-west-1',
    });
  }
  return region;
}

function folderOf(folder: string, { name, shown }: Wording, problems: Problem[]): string {
  const parts = folder.split('/').filter((part) => part !== '');
  if (parts.some((part) => part === '.' || part === '..' || /\p{Cc}/u.test(part))) {
    problems.push({
      what: `${name('s3Folder')}${shown(folder)} has a part that means another folder`,
      cure: 'write it without . and .. and control characters',
    });
  }
  return parts.join('/');
}

function proxyOf(proxy: string | undefined, { name }: Wording, problems: Problem[]): S3Settings['proxy'] {
  if (proxy === undefined) return 'environment';
  if (proxy === 'none') return proxy;
  const url = URL.parse(proxy);
  if (!/^https?:\/\//i.test(proxy) || url === null || url.hostname === '' || url.pathname !== '/') {
    // Never shown: there may be a password in it.
    problems.push({ what: `${name('s3Proxy')} is no proxy`, cure: 'write http://host:port, or none' });
  }
  return new Redacted(proxy);
}

/** Files and base64 of PEM as they are, PEM itself as base64. */
function endpointCAOf(text: string, { name }: Wording, problems: Problem[]): string {
  const items = withInlineCertificates(text)
    .split(/\s+/)
    .filter((item) => item !== '');
  if (items.some((item) => item.startsWith('-----BEGIN'))) {
    // Not shown: it may be a key.
    problems.push({
      what: `${name('s3EndpointCA')} has a PEM block that is no whole certificate`,
      cure: 'give the certificates of CAs alone, or the path of a file',
    });
  }
  return items.join(' ');
}

/** Takes a scheme in front, as people paste it, unless it contradicts the other settings. */
function endpointOf(endpoint: string, insecure: boolean, wording: Wording, problems: Problem[]): string {
  const { name, shown } = wording;
  const [, scheme = '', rest = ''] = /^(?:(https?):\/\/)?(.*?)\/?$/is.exec(endpoint) ?? [];
  const server = isIPv6(rest) ? `[${rest}]` : rest;
  const flag = name('s3Endpoint');
  // An address with a user in it may hold a password.
  const value = endpoint.includes('@') ? '' : shown(endpoint);
  if (!isServer(server)) {
    problems.push({ what: `${flag}${value} is no server`, cure: 'give host or host:port' });
  } else if (scheme.toLowerCase() === 'http' && !insecure) {
    problems.push({
      what: `${flag}${value} says http, the other settings say https`,
      cure: `set ${name('s3Insecure')}, or leave the scheme out`,
    });
  } else if (scheme.toLowerCase() === 'https' && insecure) {
    problems.push({
      what: `${flag}${value} says https, ${name('s3Insecure')} says http`,
      cure: 'leave one of them out',
    });
  }
  return server;
}

function isServer(text: string): boolean {
  const [, bracketed, port] = /^(?:\[([^\]]*)\]|[A-Za-z0-9.-]+)(?::(\d{1,5}))?$/.exec(text) ?? [text, ''];
  if (bracketed !== undefined && !isIPv6(bracketed)) return false;
  return port === undefined || (Number(port) > 0 && Number(port) < 65_536);
}
