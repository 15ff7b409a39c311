import { describe, expect, it } from 'vitest';
import type { ObjectHead } from './s3-list.ts';
import { assertOurs, differenceOf, ownerOf, type Sent, sameEtag, UPLOAD_MARK } from './s3-ownership.ts';

const MD5 = '5d41402abc4b2a76b9719d911017c592';
const OTHER = 'aaaa402abc4b2a76b9719d911017c592';
const sent: Sent = {
  size: 5,
  metadata: { 'k3s-cluster-id': 'c', 'k3s-node-name': 'n', [UPLOAD_MARK]: 'ours' },
  ownEtag: MD5,
  toldEtag: undefined,
};

function head(change: Partial<ObjectHead> = {}): ObjectHead {
  return {
    size: 5,
    etag: `"${MD5}"`,
    lastModified: undefined,
    metadata: { 'k3s-cluster-id': 'c', 'k3s-node-name': 'n' },
    encryption: undefined,
    versionId: undefined,
    lockedUntil: undefined,
    ...change,
  };
}

it.each([
  [`"${MD5}"`, MD5.toUpperCase()],
  [`W/"${MD5}"`, `"${MD5}"`],
  [`"${MD5}-3"`, `${MD5.toUpperCase()}-3`],
])('takes the ETags %s and %s for the same', (one, other) => {
  expect(sameEtag(one, other)).toBe(true);
});

it.each([
  [`"${MD5}"`, `"${OTHER}"`],
  [`"${MD5}"`, `"${MD5}-1"`],
  ['"NoSum"', '"nosum"'],
])('takes the ETags %s and %s for different ones', (one, other) => {
  expect(sameEtag(one, other)).toBe(false);
});

describe('an object that is there', () => {
  it.each([
    ['upload', { [UPLOAD_MARK]: 'ours' }],
    ['upload', { 'Etcd-Snapshot-Upload': 'ours' }],
    ['other', { 'k3s-cluster-id': 'c', 'k3s-node-name': 'n', [UPLOAD_MARK]: 'theirs' }],
    // As K3s uploads it.
    ['other', { 'k3s-cluster-id': 'c', 'k3s-node-name': 'n' }],
    ['unknown', {}],
    ['unknown', undefined],
  ])('is of %s with the metadata %j', (owner, metadata) => {
    expect(ownerOf(sent, head({ metadata }))).toBe(owner);
  });

  it.each<[string, Partial<Sent>, Partial<ObjectHead>]>([
    [
      'bears our mark, and its ETag is no sum',
      {},
      { metadata: { [UPLOAD_MARK]: 'ours' }, encryption: 'aws:kms' },
    ],
    ['has our bytes, cluster and node', {}, {}],
    ['has our bytes, where user metadata are not kept', {}, { metadata: undefined }],
    ['has our parts', { ownEtag: `"${MD5}-2"` }, { etag: `${MD5}-2` }],
  ])('is ours when it %s', (_what, change, there) => {
    expect(() => assertOurs({ ...sent, ...change }, head(there), 'Cannot upload it')).not.toThrow();
  });

  it.each<[string, Partial<Sent>, Partial<ObjectHead>]>([
    ['has other bytes', {}, { etag: OTHER }],
    ['has another size', {}, { size: 6 }],
    ['is of another node', {}, { metadata: { 'k3s-cluster-id': 'c', 'k3s-node-name': 'm' } }],
    ['is of another cluster', {}, { metadata: { 'k3s-cluster-id': 'd', 'k3s-node-name': 'n' } }],
    ['has other bytes, and user metadata are not kept', {}, { metadata: undefined, etag: OTHER }],
    ['is encrypted, and only its size is ours', {}, { encryption: 'aws:kms' }],
    ['has an ETag that is no sum', {}, { etag: '"counter-7"' }],
    ['gives no ETag', {}, { etag: undefined }],
  ])('is not ours when it %s', (_what, change, there) => {
    expect(() => assertOurs({ ...sent, ...change }, head(there), 'Cannot upload it')).toThrow(
      expect.objectContaining({ code: 'exists' }),
    );
  });
});

it.each<[Partial<Sent>, Partial<ObjectHead>, string | undefined]>([
  [{}, {}, undefined],
  [{}, { size: 4 }, '5 bytes were sent, and 4 are stored'],
  [{}, { etag: OTHER }, `the stored object is another one (ETag ${OTHER} instead of ${MD5})`],
  [{}, { etag: OTHER, encryption: 'AES256' }, undefined],
  [{ toldEtag: '"x"' }, { etag: 'x', encryption: 'AES256' }, undefined],
  [{ toldEtag: '"x"' }, { etag: 'y' }, 'the stored object is another one (ETag y instead of x)'],
  // Not every server has Amazon's formula.
  [{ ownEtag: `${MD5}-2` }, { etag: `${OTHER}-2` }, undefined],
])('what was sent (%j) and what is stored (%j) differ in: %s', (change, there, difference) => {
  expect(differenceOf({ ...sent, ...change }, head(there))).toBe(difference);
});
