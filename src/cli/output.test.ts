import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { toSnapshotFile } from '../crds/mapping.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import { formatRecords, formatSnapshots } from './output.ts';

const name = 'on-demand-k3s-server-1-1730308816';
const local: Snapshot = {
  name,
  nodeName: 'k3s-server-1',
  createdAt: new Date('2024-10-30T17:20:16Z'),
  size: 2_891_808,
  compressed: false,
  location: { store: 'local', path: `/snapshots/${name}` },
};

const s3Location = {
  store: 's3',
  endpoint: 's3.example.com',
  skipSSLVerify: false,
  insecure: false,
  region: 'us-east-1',
  bucket: 'etcd',
  prefix: 'f',
  key: `f/${name}`,
} as const;

describe('formatSnapshots', () => {
  it('prints the table of k3s: header, bytes, time', () => {
    const [header, row] = formatSnapshots([local], 'table', 'k3s').split('\n');
    expect(header?.split(/ +/)).toEqual(['Name', 'Location', 'Size', 'Created']);
    expect(row?.split(/ +/).slice(0, 3)).toEqual([name, `file:///snapshots/${name}`, '2891808']);
    expect(new Date(row?.split(/ +/)[3] ?? '')).toEqual(local.createdAt);
  });

  it('prints only the header when there is nothing', () => {
    expect(formatSnapshots([], 'table', 'k3s')).toBe('Name Location Size Created\n');
  });

  it.each([
    ['json', (text: string): unknown => JSON.parse(text)],
    ['yaml', (text: string): unknown => parse(text)],
  ] as const)('prints one List as %s', (format, read) => {
    const list: unknown = read(formatSnapshots([local], format, 'k3s'));
    expect(list).toMatchObject({
      apiVersion: 'v1',
      kind: 'List',
      items: [
        {
          kind: 'ETCDSnapshotFile',
          metadata: { name: `local-${name}` },
          spec: { snapshotName: name },
          status: { size: '2891808', readyToUse: true },
        },
      ],
    });
  });

  describe('beside S3', () => {
    const onS3 = (snapshotName: string, nodeName?: string): Snapshot => ({
      ...local,
      name: snapshotName,
      nodeName,
      location: { ...s3Location, key: `f/${snapshotName}` },
    });
    const marks = (snapshots: readonly Snapshot[], compared?: string) =>
      formatSnapshots(snapshots, 'table', 'k3s', compared)
        .trim()
        .split('\n')
        .slice(1)
        .map((line) => line.replace(/^(\S+ +){3}\S+ ?/, ''));

    it('marks what is only in one of the two, and nothing else', () => {
      const all = [local, onS3(name, 'k3s-server-1'), { ...local, name: 'a-1' }, onS3('b-2', 'k3s-server-1')];
      expect(marks(all, 'k3s-server-1')).toEqual(['', '', 'only on disk', 'only on S3']);
      expect(marks(all)).toEqual(['', '', '', '']);
    });

    it('does not claim to know the disks of other nodes', () => {
      expect(marks([onS3('a-1', 'other'), onS3('a-2')], 'k3s-server-1')).toEqual(['', 'only on S3']);
    });
  });

  it('disarms names that would steer the terminal', () => {
    const text = formatSnapshots([{ ...local, name: 'x\u001b[2J' }], 'table', 'k3s');
    expect(text).not.toContain('\u001b');
    expect(text).toContain('x?[2J');
  });

  it('indents JSON by four', () => {
    expect(formatSnapshots([], 'json', 'k3s')).toContain('\n    "kind": "List"');
  });
});

describe('formatRecords', () => {
  const [a, b] = ['node-a', 'node-b'].map((nodeName) =>
    toSnapshotFile({ ...local, nodeName, location: { store: 'local', path: `/s/${name}` } }, 'k3s'),
  );
  const s3 = toSnapshotFile({ ...local, location: s3Location, name: 'later-9' }, 'k3s');
  const failed = toSnapshotFile(
    {
      ...local,
      name: 'failed-1',
      location: { store: 'local', path: '' },
      failure: { time: local.createdAt, message: 'no\u001b\nspace' },
    },
    'k3s',
  );
  const records = [s3, b, a, failed].filter((file) => file !== undefined);

  it('shows whose copy each is, what is only in one place, and what failed', () => {
    const rows = formatRecords(records, 'table', 'k3s').trim().split('\n');
    expect(rows.map((row) => row.split(/ +/).slice(0, 3))).toEqual([
      ['Name', 'Node', 'Location'],
      ['failed-1', 'k3s-server-1', '-'],
      ['later-9', 's3', `s3://etcd/f/${name}`],
      [name, 'node-a', `file:///s/${name}`],
      [name, 'node-b', `file:///s/${name}`],
    ]);
    expect(rows.map((row) => row.split(/(?:Z|[+-]\d\d:\d\d) /)[1])).toEqual([
      undefined,
      'failed: no? space',
      'only on S3',
      'only on disk',
      'only on disk',
    ]);
  });

  it('marks nothing in a cluster that keeps nothing on S3', () => {
    expect(formatRecords(records.slice(1, 3), 'table', 'k3s')).not.toContain('only');
  });

  it.each([
    ['json', (text: string): unknown => JSON.parse(text)],
    ['yaml', (text: string): unknown => parse(text)],
  ] as const)('prints the records themselves as %s', (format, read) => {
    expect(read(formatRecords(records, format, 'k3s'))).toEqual({
      apiVersion: 'v1',
      kind: 'List',
      items: [failed, s3, a, b],
    });
  });
});
