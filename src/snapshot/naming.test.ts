import { describe, expect, it } from 'vitest';
import { isSnapshotError } from '../errors.ts';
import {
  assertSnapshotName,
  buildSnapshotName,
  looksLikeSnapshot,
  nameProblem,
  parseCreatedAt,
  snapshotTime,
  uncompressedName,
} from './naming.ts';

const createdAt = new Date('2024-10-30T17:20:16Z');

describe('buildSnapshotName', () => {
  it('joins base, node and unix seconds as the seed shows', () => {
    const parts = { base: 'on-demand', nodeName: 'k3s-server-1', createdAt, compressed: false };
    expect(buildSnapshotName(parts)).toBe('on-demand-k3s-server-1-1730308816');
    expect(buildSnapshotName({ ...parts, compressed: true })).toBe('on-demand-k3s-server-1-1730308816.zip');
  });

  it('keeps upper case and underscores, as k3s does', () => {
    const parts = { base: 'Pre_Upgrade', nodeName: 'Node', createdAt, compressed: false };
    expect(buildSnapshotName(parts)).toBe('Pre_Upgrade-Node-1730308816');
  });

  it.each(['../x', 'a/b', '.hidden', 'nul\0', 'x'.repeat(300)])('refuses the base %j', (base) => {
    const parts = { base, nodeName: 'n', createdAt, compressed: false };
    expect(() => buildSnapshotName(parts)).toThrowError(/cannot be the name of a snapshot/);
  });
});

describe('looksLikeSnapshot', () => {
  it.each([
    ['on-demand-node-1-1730308816', 5],
    ['before-upgrade.zip', 77],
    ['copied-by-hand', 1056],
  ])('takes %s of %i bytes', (name, size) => {
    expect(looksLikeSnapshot(name, size)).toBe(true);
  });

  it.each([
    ['notes.txt', 77],
    ['on-demand-node-1-1730308816', 0],
    ['empty.zip', 0],
    ['on-demand-node-1-1730308816.part', 1056],
    ['.hidden-node-1-1730308816', 1056],
    ['deeper/on-demand-node-1-1730308816', 1056],
  ])('leaves %s of %i bytes', (name, size) => {
    expect(looksLikeSnapshot(name, size)).toBe(false);
  });
});

describe('snapshotTime', () => {
  it.each([
    ['2024-01-01T00:00:00.499Z', '2024-01-01T00:00:00.000Z'],
    ['2024-01-01T00:00:00.500Z', '2024-01-01T00:00:01.000Z'],
    ['2024-01-01T00:00:00.000Z', '2024-01-01T00:00:00.000Z'],
  ])('rounds %s half up to %s', (now, rounded) => {
    expect(snapshotTime(new Date(now)).toISOString()).toBe(rounded);
  });
});

describe('parseCreatedAt', () => {
  it.each([
    ['on-demand-k3s-server-1-1730308816', createdAt.getTime()],
    ['on-demand-k3s-server-1-1730308816.zip', createdAt.getTime()],
    ['odd-5', 5000],
    ['last-253402300799', Date.UTC(9999, 11, 31, 23, 59, 59)],
  ])('reads the time of %s', (name, time) => {
    expect(parseCreatedAt(name)?.getTime()).toBe(time);
  });

  it.each([
    'snapshot',
    'snapshot.db',
    'a-1730308816.gz',
    'a-12x',
    'a-',
    'a-99999999999999',
    // A date, and what no record could say.
    'snapshot-261124120000',
    'a-253402300800.zip',
  ])('finds none in %s', (name) => {
    expect(parseCreatedAt(name)).toBeUndefined();
  });
});

describe('nameProblem', () => {
  it.each([
    ['', 'it is empty'],
    ['a/b', 'it contains a path separator'],
    ['a\\b', 'it contains a path separator'],
    ['..', 'it begins with a dot'],
    ['a\nb', 'it contains a control character'],
    ['é'.repeat(150), 'it is 300 bytes long, and 231 is the most'],
  ])('says of %j: %s', (name, problem) => {
    expect(nameProblem(name)).toBe(problem);
    expect(() => assertSnapshotName(name)).toThrowError(
      expect.toSatisfy((error) => isSnapshotError(error, 'usage')),
    );
  });

  it('accepts what k3s makes', () => {
    expect(nameProblem('etcd-snapshot-Node_1.example.com-1730308816.zip')).toBeUndefined();
  });
});

describe('uncompressedName', () => {
  it('strips one .zip and nothing else', () => {
    expect(uncompressedName('a-1.zip')).toBe('a-1');
    expect(uncompressedName('a-1.zip.zip')).toBe('a-1.zip');
    expect(uncompressedName('a-1')).toBe('a-1');
  });
});
