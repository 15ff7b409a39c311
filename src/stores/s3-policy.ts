import type { S3Settings } from '../config/types.ts';
import type { AccessPolicy, PolicyStatement } from '../snapshot/store-check.ts';
import { folderPrefix } from './s3-keys.ts';

/** The right that each of S3's operations needs, in Amazon's words. */
const RIGHTS: Readonly<Record<string, string>> = {
  PutObject: 's3:PutObject',
  CreateMultipartUpload: 's3:PutObject',
  UploadPart: 's3:PutObject',
  CompleteMultipartUpload: 's3:PutObject',
  AbortMultipartUpload: 's3:AbortMultipartUpload',
  ListMultipartUploads: 's3:ListBucketMultipartUploads',
  ListObjectsV2: 's3:ListBucket',
  HeadObject: 's3:GetObject',
  GetObject: 's3:GetObject',
  DeleteObject: 's3:DeleteObject',
  GetBucketVersioning: 's3:GetBucketVersioning',
  GetObjectLockConfiguration: 's3:GetBucketObjectLockConfiguration',
  GetBucketLifecycleConfiguration: 's3:GetLifecycleConfiguration',
};

/** Undefined for an operation that this program does not use. */
export function rightFor(operation: string): string | undefined {
  return RIGHTS[operation];
}

/** What a bucket has that asks for more rights. */
export interface BucketTraits {
  readonly versions: boolean;
  readonly locks: boolean;
}

/**
 * The least that these settings need. Listing is allowed for the whole bucket, for without it S3 answers the question after
 * a missing object with 403 instead of 404; all that touches bytes is limited to the folder.
 */
export function minimalPolicy(settings: S3Settings, { versions, locks }: BucketTraits): AccessPolicy {
  const { bucket, region, objects, encryption } = settings;
  const partition = region.startsWith('cn-') ? 'aws-cn' : region.startsWith('us-gov-') ? 'aws-us-gov' : 'aws';
  const arn = `arn:${partition}:s3:::${bucket}`;
  const inFolder = `${arn}/${folderPrefix(settings)}*`;
  const statements = [
    statement('Bucket', arn, ['s3:ListBucket', 's3:ListBucketMultipartUploads']),
    statement('Snapshots', inFolder, [
      's3:PutObject',
      's3:GetObject',
      's3:DeleteObject',
      's3:AbortMultipartUpload',
      ...(objects.tags.size === 0 ? [] : ['s3:PutObjectTagging']),
      ...(objects.acl === undefined ? [] : ['s3:PutObjectAcl']),
      ...(locks ? ['s3:GetObjectRetention', 's3:GetObjectLegalHold'] : []),
    ]),
    encryption.kind === 'sse-kms' ? keyStatement(encryption.keyId, partition, region) : [],
    statement('OnlyForS3Check', arn, [
      's3:GetBucketVersioning',
      's3:GetBucketObjectLockConfiguration',
      's3:GetLifecycleConfiguration',
    ]),
    statement('OnlyForS3CheckToTidyUp', inFolder, [
      ...(versions ? ['s3:DeleteObjectVersion'] : []),
      ...(locks ? ['s3:PutObjectRetention'] : []),
    ]),
  ];
  return { Version: '2012-10-17', Statement: statements.flat() };
}

/**
 * What the key of sse-kms needs: by ARN or id, or by its alias, which is a condition and no resource. The account's default key
 * allows all that is asked through S3 by itself.
 */
function keyStatement(
  keyId: string | undefined,
  partition: string,
  region: string,
): readonly PolicyStatement[] {
  const [, arn, of = `arn:${partition}:kms:${region}:*`, name = ''] =
    /^((arn:[^:]+:kms:[^:]*:[^:]*):)?(.+)$/.exec(keyId ?? '') ?? [];
  const actions = ['kms:GenerateDataKey', 'kms:Decrypt'];
  if (name === '') return [];
  if (!name.startsWith('alias/')) {
    return statement('Key', arn === undefined ? `${of}:key/${name}` : `${of}:${name}`, actions);
  }
  const Condition = { 'ForAnyValue:StringEquals': { 'kms:ResourceAliases': name } };
  return statement('Key', `${of}:key/*`, actions).map((one) => ({ ...one, Condition }));
}

/** Nothing without a resource, or without an action. */
function statement(Sid: string, Resource: string, Action: readonly string[]): readonly PolicyStatement[] {
  return Resource === '' || Action.length === 0 ? [] : [{ Sid, Effect: 'Allow', Action, Resource }];
}
