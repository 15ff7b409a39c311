import type { Given, Problem } from './flags.ts';
import type { Wording } from './option.ts';
import { Redacted, type S3Encryption, type S3ObjectSettings } from './types.ts';

const SSE_C_KEY_BYTES = 32;
/** Of S3, for one object. */
const MOST_TAGS = 10;
const LONGEST_TAG_KEY = 128;
const LONGEST_TAG_VALUE = 256;
const TAG_LETTERS = /^[\p{L}\p{Z}\p{N}_.:/=+@-]*$/u;

/** Encryption by the server. What does not fit together is added to `problems`. */
export function encryptionOf(
  given: Given,
  insecure: boolean,
  { name }: Wording,
  problems: Problem[],
): S3Encryption {
  const kind = given.s3Sse?.toLowerCase() ?? 'none';
  const { s3SseKmsKeyId: keyId, s3SseCKey: key } = given;
  const [sse, kms, own] = [name('s3Sse'), name('s3SseKmsKeyId'), name('s3SseCKey')];
  if (keyId !== undefined && kind !== 'sse-kms') {
    problems.push({ what: `${kms} is given, but ${sse} is not sse-kms`, cure: `set ${sse} to sse-kms` });
  } else if (keyId !== undefined && !/^[\x21-\x7e]+$/.test(keyId)) {
    problems.push({ what: `${kms} has blanks or odd characters in it`, cure: 'give an id, alias or ARN' });
  }
  if (key !== undefined && kind !== 'sse-c') {
    problems.push({ what: `${own} is given, but ${sse} is not sse-c`, cure: `set ${sse} to sse-c` });
  }
  if (kind === 'sse-s3') return { kind };
  if (kind === 'sse-kms') return { kind, keyId };
  if (kind !== 'sse-c') return { kind: 'none' };
  const text = key ?? '';
  if (!/^[A-Za-z0-9+/]+=?$/.test(text) || Buffer.from(text, 'base64').length !== SSE_C_KEY_BYTES) {
    problems.push({
      what: key === undefined ? `${own} is missing, and sse-c needs it` : `${own} is no key`,
      cure: 'give base64 of 32 bytes, as "openssl rand -base64 32" writes it',
    });
  }
  if (insecure) {
    problems.push({
      what: `${sse} is sse-c, and ${name('s3Insecure')} would send its key in the clear`,
      cure: 'use https',
    });
  }
  return { kind: 'sse-c', key: new Redacted(text) };
}

/** Storage class, ACL and tags. What is wrong is added to `problems`. */
export function objectsOf(given: Given, { name, shown }: Wording, problems: Problem[]): S3ObjectSettings {
  const { s3StorageClass: storageClass } = given;
  if (storageClass !== undefined && !/^[A-Za-z0-9_-]+$/.test(storageClass)) {
    problems.push({
      what: `${name('s3StorageClass')}${shown(storageClass)} is no storage class`,
      cure: 'write it as STANDARD_IA',
    });
  }
  const acl = given.s3Acl?.toLowerCase();
  return {
    storageClass,
    acl:
      acl === 'private' || acl === 'bucket-owner-read' || acl === 'bucket-owner-full-control'
        ? acl
        : undefined,
    tags: tagsOf(given.s3Tags ?? '', { name, shown }, problems),
  };
}

function tagsOf(text: string, { name, shown }: Wording, problems: Problem[]): ReadonlyMap<string, string> {
  const tags = new Map<string, string>();
  const flag = name('s3Tags');
  for (const item of text.split(',').filter((part) => part.trim() !== '')) {
    const [, key = '', value = ''] = /^([^=]*)=(.*)$/s.exec(item.trim()) ?? [];
    const fits = key !== '' && key.length <= LONGEST_TAG_KEY && value.length <= LONGEST_TAG_VALUE;
    if (!fits || tags.has(key) || !TAG_LETTERS.test(item)) {
      const why = tags.has(key) ? 'is there twice' : 'is no tag';
      problems.push({ what: `${flag}${shown(item)} ${why}`, cure: 'write key=value,key=value' });
    }
    tags.set(key, value);
  }
  if (tags.size > MOST_TAGS) {
    problems.push({ what: `${flag} has ${tags.size} tags`, cure: `S3 takes ${MOST_TAGS} at most` });
  }
  return tags;
}
