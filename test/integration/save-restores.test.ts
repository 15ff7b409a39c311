import { execFile } from 'node:child_process';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { etcdFlags, runCommand } from '../support/command.ts';
import { startEtcd } from '../support/etcd-server.ts';
import { scratchDir } from '../support/scratch.ts';
import { toolPath } from '../tools/toolbox.ts';

const run = promisify(execFile);
const keys = Array.from(
  { length: 200 },
  (_unused, at) => [`/registry/things/${at}`, `value of ${at}`] as const,
);

describe.each(['3.5', '3.6'] as const)('a snapshot of etcd %s', (version) => {
  it.each([
    ['plain', []],
    ['zip', ['--snapshot-compress']],
  ])('%s: etcdutl accepts it, and an etcd restored from it serves every key', async (_form, flags) => {
    await using dir = await scratchDir();
    await using etcd = await startEtcd({ version });
    await etcd.put(keys);
    await etcd.fill(4 * 1024 * 1024);
    const save = await runCommand([
      'save',
      '--distribution=custom',
      '--node-name=node-1',
      `--dir=${dir.path}`,
      ...flags,
      ...etcdFlags(etcd.settings()),
    ]);
    expect(save.code, save.stderr).toBe(0);

    const [saved = ''] = await readdir(dir.path);
    const compressed = flags.length > 0;
    expect(saved).toMatch(compressed ? /^on-demand-node-1-\d{10}\.zip$/ : /^on-demand-node-1-\d{10}$/);
    expect((await stat(join(dir.path, saved))).mode & 0o777).toBe(0o600);
    if (compressed) await run('unzip', [join(dir.path, saved), '-d', dir.path]);
    const snapshot = join(dir.path, saved.replace(/\.zip$/, ''));

    const etcdutl = await toolPath('etcdutl');
    const status = JSON.parse((await run(etcdutl, ['snapshot', 'status', snapshot, '-w', 'json'])).stdout);
    expect(status.totalKey).toBeGreaterThanOrEqual(keys.length);
    const restored = join(dir.path, 'restored');
    const peer = 'http://localhost:2380';
    const member = ['--name=m0', `--initial-cluster=m0=${peer}`, `--initial-advertise-peer-urls=${peer}`];
    await run(etcdutl, ['snapshot', 'restore', snapshot, '--data-dir', restored, ...member]);
    await using again = await startEtcd({ dataDir: restored });
    for (const [key, value] of keys) expect(String(await again.get(key))).toBe(value);
  });
});
