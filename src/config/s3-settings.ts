import { parseBoolean, parseDuration } from './duration.ts';
import type { Given, Problem } from './flags.ts';
import { type OptionKey, options } from './options.ts';
import { Redacted, type S3Settings } from './types.ts';

const DEFAULT_ENDPOINT = 's3.amazonaws.com';
const DEFAULT_REGION = 'us-east-1';
const DEFAULT_TIMEOUT_MS = 300_000;
/** Timers of Node count in 31 bits: a longer one would fire at once. */
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;

/**
 * The S3 part of the settings, or undefined when S3 is off. What is wrong is added to `problems`.
 * @param flags what the command line itself says: S3 flags without `--s3` are a mistake there, but not in the environment
 */
export function resolveS3(given: Given, flags: Given, problems: Problem[]): S3Settings | undefined {
  if (parseBoolean(given.s3 ?? 'false') !== true) {
    // `--s3=false` switches off on purpose what else is there.
    for (const option of given.s3 === undefined ? options : []) {
      if (option.section !== 'S3' || option.key === 's3' || flags[option.key] === undefined) continue;
      problems.push({ what: `--${option.flag} is given, but S3 is off`, cure: 'add --s3' });
    }
    return undefined;
  }
  const insecure = parseBoolean(given.s3Insecure ?? 'false') === true;
  return {
    endpoint: endpointOf(given.s3Endpoint ?? DEFAULT_ENDPOINT, insecure, problems),
    endpointCA: given.s3EndpointCA ?? '',
    skipSSLVerify: parseBoolean(given.s3SkipSSLVerify ?? 'false') === true,
    insecure,
    accessKey: new Redacted(required(given, 's3AccessKey', problems)),
    secretKey: new Redacted(required(given, 's3SecretKey', problems)),
    bucket: bucketOf(required(given, 's3Bucket', problems), problems),
    region: given.s3Region ?? DEFAULT_REGION,
    folder: folderOf(given.s3Folder ?? '', problems),
    timeoutMs: Math.min(parseDuration(given.s3Timeout ?? '') ?? DEFAULT_TIMEOUT_MS, LONGEST_TIMEOUT_MS),
  };
}

function required(given: Given, key: OptionKey, problems: Problem[]): string {
  const value = given[key];
  if (value !== undefined) return value;
  const option = options.find((row) => row.key === key);
  const flag = `--${option?.flag ?? key}`;
  const variable = option?.env?.[0];
  problems.push({
    what: `${flag} is missing, and --s3 needs it`,
    cure: variable === undefined ? `give ${flag}` : `set ${variable}, or give ${flag}`,
  });
  return '';
}

function bucketOf(bucket: string, problems: Problem[]): string {
  if (bucket.includes('/')) {
    problems.push({
      what: `--s3-bucket: ${JSON.stringify(bucket)} is no bucket`,
      cure: 'give the name of the bucket alone, and the rest as --s3-folder',
    });
  }
  return bucket;
}

function folderOf(folder: string, problems: Problem[]): string {
  const parts = folder.split('/').filter((part) => part !== '');
  if (parts.some((part) => part === '.' || part === '..')) {
    problems.push({
      what: `--s3-folder: ${JSON.stringify(folder)} has a part that means another folder`,
      cure: 'write it without . and ..',
    });
  }
  return parts.join('/');
}

/** Takes a scheme in front, as people paste it, unless it contradicts the other settings. */
function endpointOf(endpoint: string, insecure: boolean, problems: Problem[]): string {
  const [, scheme, rest = ''] = /^(?:(https?):\/\/)?(.*?)\/?$/s.exec(endpoint) ?? [];
  if (!/^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?$/.test(rest)) {
    problems.push({
      // An address with a user in it may hold a password.
      what: `--s3-endpoint${endpoint.includes('@') ? '' : `: ${JSON.stringify(endpoint)}`} is no server`,
      cure: 'give host or host:port',
    });
  } else if (scheme === 'http' && !insecure) {
    problems.push({
      what: `--s3-endpoint: ${endpoint} says http, the other settings say https`,
      cure: 'add --s3-insecure, or leave the scheme out',
    });
  } else if (scheme === 'https' && insecure) {
    problems.push({
      what: `--s3-endpoint: ${endpoint} says https, --s3-insecure says http`,
      cure: 'leave one of them out',
    });
  }
  return rest;
}
