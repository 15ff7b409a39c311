import { describe, expect, it } from 'vitest';
import { parseFlags } from './flags.ts';

describe('parseFlags', () => {
  it('takes both spellings, before and after the command', () => {
    const before = parseFlags([
      '--s3',
      '--etcd-s3-bucket=b',
      'save',
      '--etcd-snapshot-compress',
      '-d',
      '/data',
    ]);
    expect(before.words).toEqual(['save']);
    expect(before.given).toEqual({ s3: 'true', s3Bucket: 'b', compress: 'true', dataDir: '/data' });
    expect(before.problems).toEqual([]);
  });

  it('takes a boolean with a value, as Go programs do', () => {
    expect(parseFlags(['--s3=false', '--snapshot-compress=T']).given).toEqual({ s3: 'false', compress: 'T' });
  });

  it.each(['-s3-bukcet=b', '-tokne=very-secret', '-s3-secret-kye=very-secret'])(
    'takes %s for a mistake, and not for the value of a short flag that does nothing',
    (word) => {
      const { given, problems } = parseFlags(['save', word]);
      expect(given).toEqual({});
      expect(problems).toHaveLength(1);
      expect(JSON.stringify(problems)).not.toContain('very-secret');
    },
  );

  it('collects every problem of one command line', () => {
    const { problems } = parseFlags([
      'save',
      '--nmae=x',
      '--s3=perhaps',
      '--s3-timeout=5',
      '--s3-bucket',
      '--frobnicate',
    ]);
    expect(problems.map(({ what }) => what)).toEqual([
      '--nmae is no flag',
      '--s3: "perhaps" is neither true nor false',
      '--s3-timeout: "5" is no time span',
      '--s3-bucket needs a value',
    ]);
    expect(problems[0]?.cure).toBe('did you mean --name?');
    expect(parseFlags(['--frobnicate']).problems[0]?.cure).toBe('see --help for all flags');
  });

  it('refuses two spellings of one setting that differ, and takes them when they agree', () => {
    const differ = parseFlags(['--s3-bucket=a', '--etcd-s3-bucket=b']);
    expect(differ.problems.map(({ what }) => what)).toEqual([
      '--s3-bucket and --etcd-s3-bucket are the same setting with different values',
    ]);
    expect(parseFlags(['--s3-bucket=a', '--etcd-s3-bucket=a']).problems).toEqual([]);
  });

  it('checks counts and choices, and takes a choice in any case of letters', () => {
    const { given, problems } = parseFlags([
      '--s3-bucket-lookup-type=DNS',
      '--s3-retention=few',
      '--s3-sse=rot13',
    ]);
    expect(given).toEqual({ s3BucketLookupType: 'DNS' });
    expect(problems.map(({ what }) => what)).toEqual([
      '--s3-retention: "few" is no number',
      '--s3-sse: "rot13" is not one of none, sse-s3, sse-kms, sse-c',
    ]);
  });

  it.each([['--help'], ['-h']])('knows %s', (flag) => {
    expect(parseFlags(['save', flag])).toMatchObject({ help: true, words: ['save'] });
  });

  it.each([
    [['--s3-secretkey', 'very-secret', 'save']],
    [['save', '--s3-secretkey', 'very-secret']],
    [['save', '--s3-secretkey=very-secret']],
    [['save', '-zs3-key=very-secret']],
    [['save', '--s3-secret-key', '-very-secret']],
    [['save', '--s3-secret-key=very-secret', '--etcd-s3-secret-key=very-secret-too']],
  ])('never shows what may be a secret: %j', (argv) => {
    const { problems, words } = parseFlags(argv);
    expect(problems).toHaveLength(1);
    expect(JSON.stringify(problems)).not.toContain('very');
    expect(words).toEqual(['save']);
  });

  it('takes one dash for two, as Go programs do, and short flags with a value attached', () => {
    expect(parseFlags(['ls', '-etcd-s3', '-s3-bucket=b', '-o=json', '-d/data']).given).toEqual({
      s3: 'true',
      s3Bucket: 'b',
      output: 'json',
      dataDir: '/data',
    });
  });

  it('explains a boolean whose value stands apart', () => {
    const { problems, words } = parseFlags(['--s3', 'false', 'ls']);
    expect(problems).toEqual([{ what: '--s3 false are two words', cure: 'write --s3=false' }]);
    expect(words).toEqual(['ls']);
  });

  it.each([
    [['server', '-t', 'K10', '-s=https://first:6443'], { token: 'K10', serverUrl: 'https://first:6443' }],
    [['-t', 'K10', 'restore', 'x'], { token: 'K10' }],
    [
      ['save', '-t', 'K10', '-s', 'https://first:6443'],
      { etcdToken: 'K10', etcdServer: 'https://first:6443' },
    ],
    [['delete', 'restore', '-t', 'K10'], { etcdToken: 'K10' }],
  ])('takes -t and -s of %j as k3s does', (argv, given) => {
    expect(parseFlags(argv)).toMatchObject({ given, problems: [] });
  });
});
