import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { scratchDir } from '../test/support/scratch.ts';
import { systemdServices } from './init-system.ts';

/** A node whose systemd answers so. */
async function systemd(script: string) {
  const scratch = await scratchDir('systemd-');
  const path = join(scratch.path, 'systemctl');
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o700);
  return { path: scratch.path, [Symbol.asyncDispose]: () => scratch[Symbol.asyncDispose]() };
}

it('tells of each service that is not at rest, whatever the exit code is', async () => {
  await using s = await systemd(`case $1 in
  is-active) printf 'inactive\\nactive\\nactivating\\nfailed\\ndeactivating\\nunknown\\n'; exit 3 ;;
  show) test "$4" = b && echo 42 || echo 0 ;;
esac`);
  expect(await systemdServices(s.path)(['a', 'b', 'c', 'd', 'e', 'f'])).toEqual([
    { name: 'b', state: 'active', pid: 42 },
    { name: 'c', state: 'activating', pid: undefined },
    { name: 'e', state: 'deactivating', pid: undefined },
  ]);
});

it.each([
  ['is no systemctl', async () => ({ path: '/nonexistent', [Symbol.asyncDispose]: async () => undefined })],
  ['systemd does not run', () => systemd('echo "System has not been booted with systemd" >&2; exit 1')],
])('knows of no service where there %s', async (_what, node) => {
  await using s = await node();
  expect(await systemdServices(s.path)(['k3s', 'etcd'])).toEqual([]);
});
