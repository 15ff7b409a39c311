import { chmod, copyFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isSnapshotError } from '../../src/errors.ts';
import { type Step, steps } from '../../src/restore/journal.ts';
import { lockFolder } from '../../src/stores/folder-lock.ts';
import { runCommand } from '../support/command.ts';
import { type EtcdCluster, startEtcd } from '../support/etcd-server.ts';
import { cutOffAt } from '../support/offline-node.ts';
import { restoreHere } from '../support/restore-here.ts';
import { type ScratchDir, scratchDir } from '../support/scratch.ts';
import { fillUp, smallDisk } from '../support/small-disk.ts';
import { snapshotOf, toolsFlag } from '../support/snapshot-of.ts';
import { toolPath } from '../tools/toolbox.ts';

let etcd: EtcdCluster;
let saved: ScratchDir;
let zip: string;
let tools: string;
beforeAll(async () => {
  [etcd, saved, tools] = await Promise.all([startEtcd(), scratchDir('saved-'), toolsFlag()]);
  await etcd.put([['early', 'here']]);
  await etcd.fill(1024 * 1024);
  zip = await snapshotOf(etcd, saved.path, 'zip', ['--snapshot-compress']);
});
afterAll(async () => {
  for (const part of [etcd, saved]) await part?.[Symbol.asyncDispose]();
});

/** A restore of the zip, agreed to. */
const restore = (dataDir: string, around: Parameters<typeof restoreHere>[1] = {}) =>
  restoreHere(['--distribution=custom', `--data-dir=${dataDir}`, tools, zip], around);

async function early(dataDir: string): Promise<string> {
  await using again = await startEtcd({ dataDir });
  return String(await again.get('early'));
}

describe('a restore', () => {
  it.each(steps)(
    'whose disk is full from the step %s on keeps the old data, and goes on when there is room',
    async (full) => {
      await using disk = await smallDisk(400_000_000);
      const dataDir = join(disk.path, 'etcd');
      await restore(dataDir);
      await writeFile(join(dataDir, 'mine'), '');
      const filler = join(disk.path, 'filler');
      const outcome = await restore(dataDir, {
        onStep: async (step) => {
          if (step === full) await fillUp(filler);
        },
      }).catch((error: unknown) => error);
      const whereMine = (await readdir(disk.path)).filter((name) => /^etcd(?:-old-\d+)?$/.test(name));
      const holders = await Promise.all(
        whereMine.map(async (name) => ((await readdir(join(disk.path, name))).includes('mine') ? name : '')),
      );
      expect(holders.filter((name) => name !== '')).toHaveLength(1);
      await rm(filler);
      if (typeof outcome !== 'string') {
        expect(isSnapshotError(outcome)).toBe(true);
        expect(String(outcome)).toMatch(/The restore stopped/);
        await restore(dataDir);
      }
      await rm(join(disk.path, 'filler'), { force: true });
      expect((await readdir(disk.path)).filter((name) => name.includes('-restore-'))).toEqual([]);
      expect(await early(dataDir)).toBe('here');
    },
  );

  it('refuses while systemd starts etcd again and again, and while another restore is at work', async () => {
    await using scratch = await scratchDir();
    const flags = [
      'restore',
      '--distribution=custom',
      `--data-dir=${join(scratch.path, 'etcd')}`,
      tools,
      '--yes',
    ];
    const systemctl = join(scratch.path, 'systemctl');
    await writeFile(systemctl, '#!/bin/sh\ntest "$*" = "is-active etcd" && echo activating\nexit 3\n');
    await chmod(systemctl, 0o700);
    const starting = await runCommand([...flags, zip], { PATH: `${scratch.path}:${process.env['PATH']}` });
    expect(starting.code).toBe(1);
    expect(starting.stderr).toMatch(
      /the service etcd is activating: systemd starts it.*\n.*systemctl stop etcd/,
    );
    await rm(systemctl);
    {
      await using _other = await lockFolder(scratch.path, new AbortController().signal);
      for (const what of [zip, '--rollback', '--rejoin']) {
        const second = await runCommand([...flags, what]);
        expect(second.code).toBe(1);
        expect(second.stderr).toMatch(/Another etcd-snapshot is at work on .*\/etcd.*\n.*process \d+ on/);
      }
    }
    expect(await readdir(scratch.path)).toEqual([]);
  });

  it('leaves nothing of an unpacked snapshot behind when it is interrupted in its look', async () => {
    await using scratch = await scratchDir();
    const dataDir = join(scratch.path, 'etcd');
    const interrupt = new AbortController();
    let unpacked: readonly string[] = [];
    const version = async () => {
      unpacked = await readdir(scratch.path);
      interrupt.abort(new Error('interrupted'));
      throw interrupt.signal.reason;
    };
    await expect(restore(dataDir, { tools: { version }, signal: interrupt.signal })).rejects.toThrow(
      'interrupted',
    );
    expect(unpacked).toContainEqual(expect.stringMatching(/^etcd-restore-\d+$/));
    expect(await readdir(scratch.path)).toEqual([]);
  });

  it('does not care about a clock that was set back by a day', async () => {
    await using scratch = await scratchDir();
    const dataDir = join(scratch.path, 'etcd');
    const day = 86_400_000;
    const now = Date.now();
    for (const time of [now, now, now - day, now - day]) {
      await restore(dataDir, { now: new Date(time) });
    }
    const old = (await readdir(scratch.path)).filter((name) => name.startsWith('etcd-old-'));
    expect(old).toHaveLength(3);
    expect(await early(dataDir)).toBe('here');
  });

  it('of a snapshot of a newer etcd than etcdutl is refused', async () => {
    await using scratch = await scratchDir();
    const old = join(scratch.path, 'etcdutl');
    await writeFile(old, '#!/bin/sh\necho "etcdutl version: 3.4.27"\n');
    await chmod(old, 0o700);
    const flags = [
      '--distribution=custom',
      `--data-dir=${join(scratch.path, 'etcd')}`,
      `--etcd-tools=${scratch.path}`,
    ];
    const result = await runCommand(['restore', ...flags, '--yes', zip]);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/the snapshot is of etcd 3\.6\.0, and etcdutl is 3\.4\.27\n.*--etcd-tools/);
    expect(await readdir(scratch.path)).toEqual(['etcdutl']);
  });
});

describe('a restore that was cut off', () => {
  const cutOff = (dataDir: string, step: Step, snapshot: string) =>
    expect(
      restoreHere(['--distribution=custom', `--data-dir=${dataDir}`, tools, snapshot], {
        onStep: async (one) => cutOffAt(step)(one),
      }),
    ).rejects.toThrow('cut off');

  it.each(['stop', 'put-in-place', 'finish'] as const)(
    'before the step %s goes on although its snapshot has gone',
    async (step) => {
      await using scratch = await scratchDir();
      const [dataDir, pruned] = [join(scratch.path, 'etcd'), join(scratch.path, 'pruned.zip')];
      await copyFile(zip, pruned);
      await cutOff(dataDir, step, pruned);
      await rm(pruned);
      let plan = '';
      const done = await restoreHere(['--distribution=custom', `--data-dir=${dataDir}`, tools, pruned], {
        onPlan: (text) => {
          plan += text;
        },
      });
      expect(plan).toContain(`note: ${pruned} is gone; what was made of it was proven before`);
      expect(done).toContain('[x] records');
      expect(await early(dataDir)).toBe('here');
    },
  );

  it('with nothing but its end left makes way for another restore', async () => {
    await using scratch = await scratchDir();
    const [dataDir, first] = [join(scratch.path, 'etcd'), join(scratch.path, 'first.zip')];
    await copyFile(zip, first);
    await restore(dataDir);
    await cutOff(dataDir, 'finish', first);
    await restore(dataDir, { now: new Date(Date.now() + 60_000) });
    const names = await readdir(scratch.path);
    expect(names.filter((name) => name.includes('etcd-old-'))).toHaveLength(2);
    expect(names.filter((name) => name.includes('etcd-restore-'))).toEqual([]);
    expect(await early(dataDir)).toBe('here');
  });
});

it('a restore asks etcdutl whether it can raise the revision, before anything is moved', async () => {
  await using scratch = await scratchDir();
  const old = join(scratch.path, 'etcdutl');
  const refuses = 'case "$*" in *--bump-revision*) echo "unknown flag" >&2; exit 1;; *--help*) exit;; esac';
  await writeFile(old, `#!/bin/sh\n${refuses}\nexec ${await toolPath('etcdutl')} "$@"\n`);
  await chmod(old, 0o700);
  const dataDir = join(scratch.path, 'etcd');
  const flags = ['--distribution=custom', `--data-dir=${dataDir}`, `--etcd-tools=${scratch.path}`, '--yes'];
  const refused = await runCommand(['restore', ...flags, zip]);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/etcdutl 3\.6\.\d+ cannot raise the revision.*\n.*--bump-revision=0/);
  expect(await readdir(scratch.path)).toEqual(['etcdutl']);
  expect(await runCommand(['restore', ...flags, '--bump-revision=0', zip])).toMatchObject({ code: 0 });
  expect(await early(dataDir)).toBe('here');
});

it('verify tells that a snapshot is of a newer etcd than its programs', async () => {
  await using scratch = await scratchDir();
  await symlink(await toolPath('etcd'), join(scratch.path, 'etcd'));
  const old = join(scratch.path, 'etcdutl');
  const pretend = 'test "$1" = version && echo "etcdutl version: 3.5.1" && exit';
  await writeFile(old, `#!/bin/sh\n${pretend}\nexec ${await toolPath('etcdutl')} "$@"\n`);
  await chmod(old, 0o700);
  const result = await runCommand(['verify', `--etcd-tools=${scratch.path}`, zip]);
  expect(result.code).toBe(1);
  expect(result.stderr).toMatch(/it is of etcd 3\.6\.0, and etcdutl is 3\.5\.1\n.*--etcd-tools/);
});
