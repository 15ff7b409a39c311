import type { LifecycleRule } from '@aws-sdk/client-s3';
import { describe, expect, it } from 'vitest';
import { describeRules } from './s3-check-bucket.ts';

const rule = (more: Partial<LifecycleRule>): LifecycleRule => ({ ID: 'it', Status: 'Enabled', ...more });
const expiring = { Expiration: { Days: 7 } };

describe('describeRules', () => {
  it.each([
    ['deletes after days', rule(expiring), /"it" deletes snapshots after 7 days/],
    [
      'deletes at a date',
      rule({ Expiration: { Date: new Date('2027-01-01') } }),
      /deletes snapshots at 2027-01-01/,
    ],
    [
      'freezes',
      rule({ Transitions: [{ Days: 3, StorageClass: 'DEEP_ARCHIVE' }] }),
      /moves snapshots to DEEP_ARCHIVE after 3 days/,
    ],
    ['is for the whole bucket', rule({ Filter: { Prefix: '' }, ...expiring }), /7 days/],
    ['is for a folder above', rule({ Filter: { Prefix: 'pr' }, ...expiring }), /7 days/],
    ['is for some names in the folder', rule({ Filter: { Prefix: 'prod/on-' }, ...expiring }), /7 days/],
    [
      'has tags beside the prefix',
      rule({ Filter: { And: { Prefix: 'prod/', Tags: [{ Key: 'a', Value: 'b' }] } }, ...expiring }),
      /7 days/,
    ],
    ['is of the old kind', { Status: 'Enabled', Prefix: 'prod/', ...expiring } as LifecycleRule, /7 days/],
  ])('warns of one that %s', (_what, one, says) => {
    expect(describeRules([one], 'prod/')).toMatchObject({
      cause: 'lifecycle',
      says: expect.stringMatching(says),
    });
  });

  it.each([
    ['is off', rule({ Status: 'Disabled', ...expiring })],
    ['is for another folder', rule({ Filter: { Prefix: 'staging/' }, ...expiring })],
    [
      'is for old versions and unfinished uploads alone',
      rule({
        NoncurrentVersionExpiration: { NoncurrentDays: 1 },
        AbortIncompleteMultipartUpload: { DaysAfterInitiation: 1 },
        Expiration: { ExpiredObjectDeleteMarker: true },
      }),
    ],
    [
      'moves snapshots where they can be read at once',
      rule({ Transitions: [{ Days: 30, StorageClass: 'STANDARD_IA' }] }),
    ],
  ])('says nothing of one that %s', (_what, one) => {
    expect(describeRules([one], 'prod/')).not.toHaveProperty('cause');
  });
});
