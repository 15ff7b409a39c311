import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { scratchDir } from '../../test/support/scratch.ts';
import type { Journal } from './journal.ts';
import { readJournal } from './journal-check.ts';

const journal: Journal = {
  version: 1,
  purpose: 'restore',
  began: 1_795_518_483,
  places: {
    dataDir: '/var/lib/etcd',
    workDir: '/var/lib/etcd-restore-1795518483',
    oldDir: '/var/lib/etcd-old-1795518483',
    serverDir: undefined,
    mounted: false,
    manifests: { dir: '/etc/kubernetes/manifests', away: '/etc/kubernetes/manifests-restore-1795518483' },
  },
  snapshot: {
    path: '/snapshots/one',
    sha256: 'ab'.repeat(32),
    compressed: true,
    plainSize: 4128,
    revision: 12,
    records: 3,
  },
  member: 'm0',
  peerUrl: 'https://10.0.0.1:2380',
  clusterToken: 'etcd-restore-1',
  bumpRevision: 1_000_000_000,
  bumpWanted: 1_000_000_000,
  owner: { uid: 0, gid: 0 },
  hadData: true,
  step: 'extract',
};

async function read(value: unknown): Promise<Journal | undefined> {
  await using scratch = await scratchDir();
  const path = join(scratch.path, '.etcd-restore.json');
  await writeFile(path, JSON.stringify(value));
  return await readJournal(path);
}

/** The journal with another value in one place; undefined: without it. */
function changed(field: string, value: unknown): unknown {
  const copy: unknown = JSON.parse(JSON.stringify(journal));
  const names = field.split('.');
  const last = names.pop() ?? '';
  const holder = names.reduce<unknown>((inner, name) => Reflect.get(Object(inner), name), copy);
  Reflect.set(Object(holder), last, value);
  return copy;
}

describe('a journal that is read back', () => {
  it.each([
    ['in a step', journal],
    ['that is done', { ...journal, step: undefined }],
    ['of a rejoin', { ...journal, purpose: 'rejoin', snapshot: undefined }],
    ['of a reset', changed('snapshot.sha256', '')],
    ['of a rollback', { ...journal, rollback: { moves: [{ from: '/a', to: '/b' }], begun: 1 } }],
    [
      'of a mount point',
      {
        ...journal,
        places: {
          ...journal.places,
          mounted: true,
          workDir: '/var/lib/etcd/etcd-restore-1',
          oldDir: '/var/lib/etcd/etcd-old-1',
        },
      },
    ],
  ])('%s is taken', async (_what, value) => {
    expect(await read(value)).toEqual(JSON.parse(JSON.stringify(value)));
  });

  it.each([
    ['version', 2],
    ['purpose', 'sabotage'],
    ['began', 'yesterday'],
    ['places', undefined],
    ['places.dataDir', 'etcd'],
    ['places.workDir', '/'],
    ['places.workDir', '/home/etcd-restore-1'],
    ['places.workDir', '/var/lib/../lib/etcd-restore-1'],
    ['places.oldDir', '/var/lib/etcd'],
    ['places.mounted', 'no'],
    ['places.manifests.away', 7],
    ['places.manifests.initialCluster', 7],
    ['snapshot', undefined],
    ['snapshot.sha256', 'x'],
    ['snapshot.revision', -1],
    ['member', ''],
    ['peerUrl', 'host'],
    ['clusterToken', undefined],
    ['bumpRevision', 1.5],
    ['owner.uid', '0'],
    ['hadData', 1],
    ['step', 'dance'],
    ['rollback', { begun: 0 }],
    ['rollback', { begun: 0, moves: [{ from: '/a' }] }],
  ])('is refused with %s as %j, which is named with the cure', async (field, value) => {
    await expect(read(changed(field, value))).rejects.toMatchObject({
      code: 'corrupt',
      message: expect.stringContaining('.etcd-restore.json'),
      why: expect.stringMatching(new RegExp(`^${field}\\b.*(?:must be|is missing)`)),
      hint: expect.stringMatching(/remove the journal/),
    });
  });

  it('of an earlier version is taken when it is done, and refused in a step', async () => {
    const { clusterToken: _token, bumpWanted: _wanted, ...earlier } = journal;
    const done = { ...earlier, step: undefined };
    expect(await read(done)).toMatchObject(JSON.parse(JSON.stringify(done)));
    await expect(read(earlier)).rejects.toMatchObject({
      why: expect.stringContaining('clusterToken is missing'),
    });
    await expect(read({ ...done, hadData: 1 })).rejects.toMatchObject({
      why: expect.stringContaining('hadData'),
    });
  });

  it('is undefined when there is none, and refused when it is no JSON', async () => {
    await using scratch = await scratchDir();
    expect(await readJournal(join(scratch.path, 'none'))).toBeUndefined();
    await writeFile(join(scratch.path, 'half'), '{"version":');
    await expect(readJournal(join(scratch.path, 'half'))).rejects.toMatchObject({ code: 'corrupt' });
    await expect(read(null)).rejects.toMatchObject({ why: expect.stringContaining('version is missing') });
  });
});
