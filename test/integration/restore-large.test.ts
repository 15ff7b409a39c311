import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { bigSnapshot } from '../support/big-snapshot.ts';
import { runCommand } from '../support/command.ts';
import { startEtcd } from '../support/etcd-server.ts';
import { scratchDir } from '../support/scratch.ts';
import { snapshotOf, toolsFlag } from '../support/snapshot-of.ts';

/** Above the 2 GiB that an etcd takes unless it is told otherwise, and above what 31 bits count. */
const BYTES = 3_000_000_000;

it('a database of 3 GB is verified, restored and reset: the default quota of etcd stops nothing', async () => {
  await using scratch = await scratchDir();
  const big = join(scratch.path, 'big');
  {
    await using etcd = await startEtcd();
    await etcd.put([['early', 'here']]);
    await bigSnapshot(await snapshotOf(etcd, scratch.path, 'small'), big, BYTES);
  }
  const tools = await toolsFlag();
  const verified = await runCommand(['verify', tools, `--temp-dir=${scratch.path}`, big]);
  expect(verified, verified.stderr).toMatchObject({ code: 0 });
  const dataDir = join(scratch.path, 'etcd');
  const flags = ['restore', '--distribution=custom', `--data-dir=${dataDir}`, tools, '--yes'];
  const restored = await runCommand([...flags, big]);
  expect(restored, restored.stderr).toMatchObject({ code: 0 });
  expect((await stat(join(dataDir, 'member/snap/db'))).size).toBeGreaterThan(2 ** 31);
  await rm(big);
  const reset = await runCommand([...flags, '--cluster-reset']);
  expect(reset, reset.stderr).toMatchObject({ code: 0 });
  expect((await stat(join(dataDir, 'member/snap/db'))).size).toBeGreaterThan(2 ** 31);
  await using again = await startEtcd({ dataDir, quotaBytes: 2 * BYTES });
  expect(String(await again.get('early'))).toBe('here');
});
