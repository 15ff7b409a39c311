import type { PutObjectCommandInput } from '@aws-sdk/client-s3';
import type { S3Settings } from '../config/types.ts';

export type CustomerKey = Pick<PutObjectCommandInput, 'SSECustomerAlgorithm' | 'SSECustomerKey'>;
type Creation = CustomerKey &
  Pick<
    PutObjectCommandInput,
    | 'ServerSideEncryption'
    | 'SSEKMSKeyId'
    | 'StorageClass'
    | 'ACL'
    | 'Tagging'
    | 'ObjectLockMode'
    | 'ObjectLockRetainUntilDate'
  >;

/** What every request about the bytes or the head of an object needs when its key is ours alone. */
export function customerKeyOf({ encryption }: S3Settings): CustomerKey {
  return encryption.kind === 'sse-c'
    ? { SSECustomerAlgorithm: 'AES256', SSECustomerKey: encryption.key.reveal() }
    : {};
}

/** What a request that makes an object says about it: encryption, storage class, ACL, tags, lock. */
export function creationOf(settings: S3Settings): Creation {
  const { storageClass, acl, tags, lockedUntil } = settings.objects;
  return {
    ...encryptionOf(settings),
    // The SDK's type lists the classes of Amazon; servers have others.
    ...(storageClass === undefined
      ? {}
      : { StorageClass: storageClass as NonNullable<Creation['StorageClass']> }),
    ...(acl === undefined ? {} : { ACL: acl }),
    ...(tags.size === 0 ? {} : { Tagging: new URLSearchParams([...tags]).toString() }),
    ...(lockedUntil === undefined
      ? {}
      : { ObjectLockMode: 'GOVERNANCE', ObjectLockRetainUntilDate: lockedUntil }),
  };
}

function encryptionOf(settings: S3Settings): Creation {
  const { encryption } = settings;
  switch (encryption.kind) {
    case 'sse-s3':
      return { ServerSideEncryption: 'AES256' };
    case 'sse-kms':
      return {
        ServerSideEncryption: 'aws:kms',
        ...(encryption.keyId === undefined ? {} : { SSEKMSKeyId: encryption.keyId }),
      };
    default:
      return customerKeyOf(settings);
  }
}
