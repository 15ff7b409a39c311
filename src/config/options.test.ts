import { describe, expect, it } from 'vitest';
import { parseFlags } from './flags.ts';
import { options } from './options.ts';
import { s3Options, s3SecretKeys } from './s3-options.ts';

/** The 13 flags of the seed document, without `etcd-`. */
const ofSeed = [
  's3',
  's3-endpoint',
  's3-endpoint-ca',
  's3-skip-ssl-verify',
  's3-access-key',
  's3-secret-key',
  's3-bucket',
  's3-region',
  's3-folder',
  's3-proxy',
  's3-insecure',
  's3-timeout',
  's3-config-secret',
];
const newerOfK3s = ['s3-session-token', 's3-bucket-lookup-type', 's3-retention'];

describe('the option table', () => {
  it('names every flag once', () => {
    const names = options.flatMap(({ flag, alias, short }) => [flag, alias, short].filter(Boolean));
    expect(new Set(names).size).toBe(names.length);
    expect(new Set(options.map(({ key }) => key)).size).toBe(options.length);
  });

  it.each([...ofSeed, ...newerOfK3s])('takes --%s with and without etcd-', (flag) => {
    const option = s3Options.find((row) => row.flag === flag);
    const value = { boolean: 'true', choice: 'path', count: '3', duration: '5m', list: 'a', string: 'a' }[
      option?.type ?? 'string'
    ];
    const { given, problems } = parseFlags([`--${flag}=${value}`]);
    expect(problems).toEqual([]);
    expect(given).toEqual({ [option?.key ?? '']: value });
    expect(parseFlags([`--etcd-${flag}=${value}`])).toMatchObject({ given, problems });
  });

  it('gives the S3 Secret its keys, those of the seed among them', () => {
    const decides = ['s3', 's3-config-secret'];
    const expected = ofSeed.filter((flag) => !decides.includes(flag)).map((flag) => `etcd-${flag}`);
    expect([...s3SecretKeys.keys()]).toEqual(expect.arrayContaining(expected));
    for (const flag of decides) expect(s3SecretKeys.has(`etcd-${flag}`)).toBe(false);
  });
});
