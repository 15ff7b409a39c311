import { equal } from 'node:assert/strict';
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { bigSnapshot } from '../test/support/big-snapshot.ts';
import { runCommand } from '../test/support/command.ts';
import { startEtcd } from '../test/support/etcd-server.ts';
import { scratchDir } from '../test/support/scratch.ts';
import { snapshotOf, toolsFlag } from '../test/support/snapshot-of.ts';

/**
 * `node bench/large.ts [MB]`: a database above the 2 GiB that an etcd takes unless it is told otherwise is verified, restored and
 * reset. It measures nothing; it is no test because it moves some 20 GB.
 */
const BYTES = Number(process.argv[2] ?? 3000) * 1e6;

await using scratch = await scratchDir('large-');
const big = join(scratch.path, 'big');
{
  await using etcd = await startEtcd();
  await etcd.put([['early', 'here']]);
  await bigSnapshot(await snapshotOf(etcd, scratch.path, 'small'), big, BYTES);
}
const tools = await toolsFlag();
const dataDir = join(scratch.path, 'etcd');
const database = join(dataDir, 'member/snap/db');
const restore = ['restore', '--distribution=custom', `--data-dir=${dataDir}`, tools, '--yes'];
for (const words of [
  ['verify', tools, `--temp-dir=${scratch.path}`, big],
  [...restore, big],
  [...restore, '--cluster-reset'],
]) {
  const { code, stderr } = await runCommand(words);
  equal(code, 0, stderr);
  process.stdout.write(`${words[0]} ${words.at(-1)} is done\n`);
}
equal((await stat(database)).size >= BYTES, true, 'the database became smaller');
await rm(big);
await using again = await startEtcd({ dataDir, quotaBytes: 3 * BYTES });
equal(String(await again.get('early')), 'here');
