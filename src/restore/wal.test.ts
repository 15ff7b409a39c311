import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { plainOrder } from '../../test/support/restore-order.ts';
import { scratchDir } from '../../test/support/scratch.ts';
import type { RestoreOrder } from '../config/restore-settings.ts';
import { whereTheLogIs } from './wal.ts';

async function node(more: Partial<RestoreOrder> = {}) {
  const scratch = await scratchDir();
  const dataDir = join(scratch.path, 'etcd');
  for (const folder of ['etcd/member/snap', 'etcd/member/wal', 'manifests', 'wal'])
    await mkdir(join(scratch.path, folder), { recursive: true });
  await writeFile(join(dataDir, 'member/snap/db'), '');
  const order: RestoreOrder = { ...plainOrder, dataDir, ...more };
  const close = () => scratch[Symbol.asyncDispose]();
  return {
    path: scratch.path,
    dataDir,
    order,
    wal: join(dataDir, 'member/wal'),
    [Symbol.asyncDispose]: close,
  };
}

const nothing = { obstacles: [], notes: [] };

it('a log in its usual place, or no data at all, stand in no way', async () => {
  await using n = await node();
  expect(await whereTheLogIs(n.order)).toEqual(nothing);
  await rm(n.dataDir, { recursive: true });
  expect(await whereTheLogIs(n.order)).toEqual(nothing);
});

it.each(['restore', 'reset', 'rejoin'] as const)(
  'a %s is refused where the log lies elsewhere',
  async (purpose) => {
    await using n = await node({ purpose });
    await rm(n.wal, { recursive: true });
    const { obstacles } = await whereTheLogIs(n.order);
    expect(obstacles).toEqual([
      {
        what: `there is a database in ${n.dataDir}, and no log in ${n.wal}`,
        cure: expect.stringMatching(/etcdutl snapshot restore --wal-dir/),
      },
    ]);
  },
);

it.each([
  ['--wal-dir=WAL', true],
  ['--wal-dir", "WAL', true],
  ['--wal-dir=USUAL', false],
  ['--data-dir=WAL', false],
])('%s in the manifest of kubeadm is heeded', async (flag, stands) => {
  await using n = await node();
  const order = { ...n.order, manifestDir: join(n.path, 'manifests') };
  const text = flag.replace('WAL', join(n.path, 'wal')).replace('USUAL', n.wal);
  await writeFile(join(n.path, 'manifests/etcd.yaml'), `command: ["etcd", "${text}"]\n`);
  const { obstacles } = await whereTheLogIs(order);
  expect(obstacles.map(({ what }) => what)).toEqual(
    stands ? [`etcd keeps its log in ${join(n.path, 'wal')} (--wal-dir), and not in ${n.wal}`] : [],
  );
});

it('wal-dir in the file that K3s starts its etcd with is heeded', async () => {
  await using n = await node();
  const order = { ...n.order, serverDir: n.path };
  await writeFile(join(n.dataDir, 'config'), `wal-dir: ${join(n.path, 'wal')}\n`);
  expect((await whereTheLogIs(order)).obstacles).toHaveLength(1);
  await writeFile(join(n.dataDir, 'config'), 'name: server-1\n');
  expect(await whereTheLogIs(order)).toEqual(nothing);
});

it('a link at the place of the log is only told', async () => {
  await using n = await node();
  await rm(n.wal, { recursive: true });
  await symlink(join(n.path, 'wal'), n.wal);
  const { obstacles, notes } = await whereTheLogIs(n.order);
  expect(obstacles).toEqual([]);
  expect(notes).toEqual([expect.stringContaining(`${n.wal} is a link to ${join(n.path, 'wal')}`)]);
});
