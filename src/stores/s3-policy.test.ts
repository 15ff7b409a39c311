import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { S3Settings } from '../config/types.ts';
import { formatPolicy } from '../snapshot/store-check.ts';
import { minimalPolicy } from './s3-policy.ts';

const plain = { storageClass: undefined, acl: undefined, tags: new Map<string, string>() };
const settings = (more: Partial<S3Settings>) =>
  ({
    bucket: 'b',
    folder: 'prod',
    region: 'us-east-1',
    objects: plain,
    encryption: { kind: 'none' },
    ...more,
  }) as S3Settings;
const bare = { versions: false, locks: false };
const rights = (more: Partial<S3Settings>, bucketHas = bare) =>
  minimalPolicy(settings(more), bucketHas).Statement.flatMap(({ Action }) => Action);

describe('minimalPolicy', () => {
  it('limits what touches bytes to the folder, and nothing of it to everything', () => {
    const { Statement } = minimalPolicy(settings({}), bare);
    expect(new Set(Statement.map(({ Resource }) => Resource))).toEqual(
      new Set(['arn:aws:s3:::b', 'arn:aws:s3:::b/prod/*']),
    );
    expect(JSON.stringify(Statement)).not.toMatch(/"(?:s3:)?\*"/);
    expect(minimalPolicy(settings({ folder: '' }), bare).Statement[1]?.Resource).toBe('arn:aws:s3:::b/*');
  });

  it.each([
    ['cn-north-1', 'arn:aws-cn:s3:::b'],
    ['us-gov-west-1', 'arn:aws-us-gov:s3:::b'],
  ])('knows the part of Amazon that %s belongs to', (region, arn) => {
    expect(minimalPolicy(settings({ region }), bare).Statement[0]?.Resource).toBe(arn);
  });

  it('asks for more only where the settings or the bucket do', () => {
    expect(rights({})).not.toContain('s3:PutObjectTagging');
    const tags = new Map([['a', 'b']]);
    const objects = { storageClass: undefined, acl: 'private' as const, tags };
    expect(rights({ objects })).toEqual(expect.arrayContaining(['s3:PutObjectTagging', 's3:PutObjectAcl']));
    expect(rights({}, { versions: true, locks: false })).toContain('s3:DeleteObjectVersion');
    expect(rights({}, { versions: false, locks: true })).toContain('s3:GetObjectRetention');
  });

  const byAlias = { 'ForAnyValue:StringEquals': { 'kms:ResourceAliases': 'alias/it' } };
  it.each([
    ['arn:aws:kms:us-east-1:1:key/2', 'arn:aws:kms:us-east-1:1:key/2', undefined],
    ['2', 'arn:aws:kms:us-east-1:*:key/2', undefined],
    // An alias is no resource that a policy could name.
    ['alias/it', 'arn:aws:kms:us-east-1:*:key/*', byAlias],
    ['arn:aws:kms:us-east-1:1:alias/it', 'arn:aws:kms:us-east-1:1:key/*', byAlias],
  ])('allows to use the key %s', (keyId, Resource, Condition) => {
    const { Statement } = minimalPolicy(settings({ encryption: { kind: 'sse-kms', keyId } }), bare);
    expect(Statement.find(({ Sid }) => Sid === 'Key')).toEqual({
      Sid: 'Key',
      Effect: 'Allow',
      Resource,
      Action: ['kms:GenerateDataKey', 'kms:Decrypt'],
      ...(Condition === undefined ? {} : { Condition }),
    });
  });

  it('asks for nothing of the default key of the account', () => {
    expect(rights({ encryption: { kind: 'sse-kms', keyId: undefined } })).toEqual(rights({}));
  });
});

it('docs/s3.md shows the policy of bucket backups, folder prod', () => {
  const policy = minimalPolicy(settings({ bucket: 'backups' }), bare);
  const page = readFileSync(new URL('../../docs/s3.md', import.meta.url), 'utf8');
  expect(page).toContain(`\`\`\`json\n${formatPolicy(policy)}\n\`\`\``);
});
