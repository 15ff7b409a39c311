import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { type NamedSnapshot, resourceName, storageNodeLabel } from './resource-name.ts';

const DIR = 'file:///var/lib/rancher/k3s/server/db/snapshots';
const SEED = 'on-demand-k3s-server-1-1730308816';

function named(overrides: Partial<NamedSnapshot>): NamedSnapshot {
  return {
    snapshotName: SEED,
    nodeName: 'k3s-server-1',
    location: `${DIR}/${SEED}`,
    createdAt: new Date(1_730_308_816_000),
    compressed: false,
    ...overrides,
  };
}

describe('resourceName', () => {
  it('makes the names that the README shows', async () => {
    const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
    const rows = [...readme.matchAll(/^((?:local|s3)-\S+) +(\S+) +(\S+) +(\S+) +\d+ +(\S+Z)$/gm)];
    expect(rows).toHaveLength(2);
    for (const [, name, snapshotName = '', nodeName = '', location = '', created = ''] of rows) {
      const createdAt = new Date(created);
      expect(resourceName({ snapshotName, nodeName, location, createdAt, compressed: false })).toBe(name);
    }
  });

  it.each<[string, Partial<NamedSnapshot>, string]>([
    ['the local record of the seed', {}, `local-${SEED}-3e9290`],
    [
      'the S3 record of the seed',
      { nodeName: 's3', location: `s3://etcd/k3s-test/${SEED}` },
      `s3-${SEED}-79b15c`,
    ],
    [
      'an S3 record of newer k3s, with the uploading node as source',
      { nodeName: 's3', nodeSource: 'k3s-server-1', location: `s3://etcd/k3s-test/${SEED}` },
      `s3-${SEED}-3b38ed`,
    ],
    [
      'an empty source as none',
      { nodeName: 's3', nodeSource: '', location: `s3://etcd/k3s-test/${SEED}` },
      `s3-${SEED}-79b15c`,
    ],
    ['a failed local save', { location: '' }, `local-${SEED}-dcf0a5`],
    ['an S3 client that could not be made', { nodeName: 's3', location: '' }, `s3-${SEED}-41242b`],
    [
      'an underscore, by falling back to node and time',
      {
        snapshotName: 'My_Snap-k3s-server-1-1730308816.zip',
        location: `${DIR}/My_Snap-k3s-server-1-1730308816.zip`,
        compressed: true,
      },
      'local-etcd-snapshot-k3s-server-1-1730308816.zip-4b70b0',
    ],
    [
      'upper case, by lower-casing',
      {
        snapshotName: 'Pre-Upgrade-k3s-server-1-1730308816',
        location: `${DIR}/Pre-Upgrade-k3s-server-1-1730308816`,
      },
      'local-pre-upgrade-k3s-server-1-1730308816-40ca55',
    ],
  ])('names %s', (_, overrides, name) => {
    expect(resourceName(named(overrides))).toBe(name);
  });

  it('takes the node up to its first dot in a fallback name', () => {
    const name = resourceName(named({ snapshotName: 'a_b', nodeName: 'n1.example.com' }));
    expect(name).toMatch(/^local-etcd-snapshot-n1-1730308816-[0-9a-f]{6}$/);
  });

  it.each([
    [240, 253, 'aaaa'],
    [241, 50, 'etcd-snapshot-k3s-server-1'],
  ])('keeps a snapshot name of %i characters within 253', (length, total, start) => {
    const name = resourceName(named({ snapshotName: 'a'.repeat(length) }));
    expect(name).toMatch(new RegExp(`^local-${start}`));
    expect(name.length).toBe(total);
  });

  it.each(['UPPER_node', 'n'.repeat(253), 'knoten-ä'])('makes a legal name for the node %s', (nodeName) => {
    const name = resourceName(named({ snapshotName: 'a_b', nodeName, compressed: true }));
    expect(name).toMatch(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/);
    expect(name.length).toBeLessThanOrEqual(253);
  });
});

describe('storageNodeLabel', () => {
  it.each(['s3', 'k3s-server-1', 'n1.example.com', 'a'.repeat(63)])('keeps %s', (node) => {
    expect(storageNodeLabel(node)).toBe(node);
  });

  it.each(['a'.repeat(64), `${'a'.repeat(55)}.${'b'.repeat(60)}`, 'my node', '-', 'ä'])(
    'makes a legal value of %s',
    (node) => {
      expect(storageNodeLabel(node)).toMatch(/^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/);
    },
  );

  it('tells long names apart that begin alike', () => {
    const long = 'node-'.repeat(20);
    expect(storageNodeLabel(`${long}1`)).not.toBe(storageNodeLabel(`${long}2`));
  });
});
