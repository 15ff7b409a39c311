import { execFile } from 'node:child_process';
import { chown, cp, mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { steps } from '../../src/restore/journal.ts';
import { usersOf } from '../../src/restore/running.ts';
import { runCommand, startCommand } from '../support/command.ts';
import { type EtcdCluster, startEtcd } from '../support/etcd-server.ts';
import { sleep } from '../support/processes.ts';
import { programPath } from '../support/programs.ts';
import { type ScratchDir, scratchDir } from '../support/scratch.ts';
import { smallDisk } from '../support/small-disk.ts';
import { flipped, snapshotOf, toolsFlag } from '../support/snapshot-of.ts';
import { contentOf, memberIdOf, stoppedNode } from '../support/stopped-node.ts';

const run = promisify(execFile);
const killed = programPath('restore-main');

let etcd: EtcdCluster;
let saved: ScratchDir;
/** Data of the cluster after the snapshot, as a member that was stopped left them. */
let late: string;
let plain: string;
let zip: string;
let tools: string;

beforeAll(async () => {
  [etcd, saved, tools] = await Promise.all([startEtcd(), scratchDir('saved-'), toolsFlag()]);
  const uid = '2f0bdc0e-5fb2-4d6d-9f0e-0f6e1b0f3a11';
  await etcd.put([
    ['early', 'here'],
    ['/registry/namespaces/kube-system', `k8s\0 kube-system ${uid}`],
  ]);
  await etcd.fill(2 * 1024 * 1024);
  plain = await snapshotOf(etcd, saved.path, 'plain');
  zip = await snapshotOf(etcd, saved.path, 'zip', ['--snapshot-compress']);
  await etcd.put([['late', 'gone']]);
  const [member] = etcd.members;
  member?.kill('SIGKILL');
  late = join(saved.path, 'late');
  while ((await usersOf(member?.dataDir ?? '')).length > 0) await sleep(20);
  await cp(member?.dataDir ?? '', late, { recursive: true });
});
afterAll(async () => {
  for (const part of [etcd, saved]) await part?.[Symbol.asyncDispose]();
});

const node = (where?: string) => stoppedNode(late, tools, where);

const before = { early: 'here', late: undefined };
const after = { early: 'here', late: 'gone' };

describe('etcd-snapshot restore', () => {
  it.each([['plain'], ['zip']])(
    'brings back what a %s snapshot holds, and keeps the old data',
    async (form) => {
      await using n = await node();
      await chown(n.dataDir, 65_534, 65_534);
      const result = await n.run(['--yes', form === 'zip' ? zip : plain]);
      expect(result, result.stderr).toMatchObject({ code: 0 });
      expect(result.stdout).toMatch(/\[x\] revision +(\d+) \+ 1000000000 = /);
      const names = await n.names();
      expect(names).toEqual(['.etcd-restore.json', 'etcd', expect.stringMatching(/^etcd-old-\d{10}$/)]);
      const old = join(n.folder, names[2] ?? '');
      // The user that etcd runs as must be able to write there.
      expect(await stat(join(n.dataDir, 'member/snap/db'))).toMatchObject({ uid: 65_534, gid: 65_534 });
      expect((await stat(n.dataDir)).mode & 0o777).toBe(0o700);
      expect(await contentOf(n.dataDir)).toEqual(before);
      expect(await contentOf(old)).toEqual(after);
    },
  );

  it('shows the plan with --dry-run, and refuses to begin unasked; neither changes anything', async () => {
    await using n = await node();
    const look = await n.run(['--dry-run', zip]);
    expect(look, look.stderr).toMatchObject({ code: 0, stderr: '' });
    expect(look.stdout).toMatch(
      /1\. unpack the zip.*\n.*2\. extract.*\n.*3\. compare.*\n.*4\. move .*-old-.*\n.*5\. move/,
    );
    const unasked = await n.run([plain]);
    expect(unasked.code).toBe(2);
    expect(unasked.stderr).toMatch(/Nobody can be asked.*\n.*\n.*--yes/);
    expect(await n.names()).toEqual(['etcd']);
    expect(await contentOf(n.dataDir)).toEqual(after);
  });

  it('gives data of etcd 3.5 back to etcd 3.5, and lets no newer etcd touch those that stay', async () => {
    await using scratch = await scratchDir();
    await using old = await startEtcd({ version: '3.5' });
    await old.put([['early', 'here']]);
    const snapshot = await snapshotOf(old, scratch.path, 'old');
    const dataDir = join(scratch.path, 'etcd');
    const flags = ['restore', '--distribution=custom', `--data-dir=${dataDir}`, tools, '--yes'];
    expect(await runCommand([...flags, snapshot])).toMatchObject({ code: 0 });
    {
      await using again = await startEtcd({ version: '3.5', dataDir });
      expect(String(await again.get('early'))).toBe('here');
    }
    const reset = await runCommand([...flags, '--cluster-reset']);
    expect(reset.code).toBe(1);
    expect(reset.stderr).toMatch(
      /the data are of etcd 3\.5\.0, and the etcd that would forget the peers is 3\.6/,
    );
  });

  it('follows a link to the data, and sees who has them open all the same', async () => {
    await using n = await node();
    const elsewhere = join(n.folder, 'elsewhere');
    await rename(n.dataDir, elsewhere);
    await symlink(elsewhere, n.dataDir);
    {
      await using _running = await startEtcd({ dataDir: elsewhere });
      const refused = await n.run(['--yes', plain]);
      expect(refused.stderr).toMatch(/is running and has .*\/elsewhere\/member\/.* open/);
    }
    expect(await n.run(['--yes', plain])).toMatchObject({ code: 0 });
    expect(await n.names()).toEqual([
      '.elsewhere-restore.json',
      'elsewhere',
      expect.stringMatching(/^elsewhere-old-\d{10}$/),
      'etcd',
    ]);
    expect(await contentOf(n.dataDir)).toEqual(before);
  });

  it('goes on to its end when nobody reads what it writes: head has ended', async () => {
    await using n = await node();
    const unread = startCommand(['restore', ...n.flags, '--yes', plain]);
    unread.child.stdout?.destroy();
    const result = await unread.done;
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(result.stderr).toContain('Step finish');
    expect(await contentOf(n.dataDir)).toEqual(before);
    const failing = startCommand(['restore', ...n.flags, '--yes', join(n.folder, 'none')]);
    failing.child.stdout?.destroy();
    expect((await failing.done).code).toBe(1);
  });

  it('is not undone when the old data are gone, and nothing is touched then', async () => {
    await using n = await node();
    expect(await n.run(['--yes', plain])).toMatchObject({ code: 0 });
    const old = (await n.names()).find((name) => name.startsWith('etcd-old-')) ?? '';
    await rename(join(n.folder, old), join(n.folder, 'elsewhere'));
    const before = await n.names();
    const result = await n.run(['--yes', '--rollback']);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/The old data of .* are gone\n.*etcd-old-\d+ does not exist any more/);
    expect(await n.names()).toEqual(before);
    await rename(join(n.folder, 'elsewhere'), join(n.folder, old));
    expect(await n.run(['--yes', '--rollback'])).toMatchObject({ code: 0 });
    expect(await contentOf(n.dataDir)).toEqual(after);
  });

  it('tells of alarms that come back with the data', async () => {
    await using n = await node();
    await using alarmed = await startEtcd();
    await alarmed.put([['early', 'here']]);
    await alarmed.raiseAlarm('NOSPACE');
    const path = await snapshotOf(alarmed, n.folder, 'alarmed');
    const result = await n.run(['--dry-run', path]);
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(result.stdout).toMatch(/note: the alarm NOSPACE is raised .*etcdctl alarm disarm/);
  });

  it('makes the data folder where there is none', async () => {
    await using n = await node();
    await rm(n.dataDir, { recursive: true });
    const result = await n.run(['--yes', '--bump-revision=0', plain]);
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(await n.names()).toEqual(['.etcd-restore.json', 'etcd']);
    expect(await contentOf(n.dataDir)).toEqual(before);
    const back = await n.run(['--yes', '--rollback']);
    expect(back, back.stderr).toMatchObject({ code: 0 });
    expect(await n.names()).toEqual([expect.stringMatching(/^etcd-undone-\d{10}$/)]);
  });

  it('keeps both when it restores twice', async () => {
    await using n = await node();
    expect(await n.run(['--yes', plain])).toMatchObject({ code: 0 });
    const past = await n.run(['--yes', zip]);
    expect(past, past.stderr).toMatchObject({ code: 0 });
    // Clients have seen revisions of the restore before, which lie behind those of the snapshot and what is added to them.
    expect(past.stdout).toMatch(
      /note: the data that are there are of revision 10\d{8}, and the new one has to/,
    );
    expect(past.stdout).toMatch(/\[x\] revision +\d+ \+ \d+ = 20\d{8}\n/);
    const [, first = ''] = (await n.names()).filter((name) => name.startsWith('etcd-old-'));
    expect(await contentOf(n.dataDir)).toEqual(before);
    // Members of one restore must not take those of another, or of the cluster that was, for their own.
    expect(await memberIdOf(n.dataDir)).not.toBe(await memberIdOf(join(n.folder, first)));
  });

  it('tells everything that stands in the way at once, and touches nothing', async () => {
    await using n = await node();
    await using running = await startEtcd({ dataDir: n.dataDir });
    const damaged = join(n.folder, 'damaged');
    await writeFile(damaged, await flipped(plain, 100_000));
    const address = running.endpoints[0] ?? '';
    const result = await n.run([
      '--yes',
      damaged,
      `--etcd-servers=${address}`,
      '--server=https://first:6443',
    ]);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/is not touched: 3 things stand in the way/);
    expect(result.stderr).toMatch(/etcd \(pid \d+\) is running and has .* open: stop it/);
    expect(result.stderr).toMatch(/its SHA-256 is/);
    expect(result.stderr).toMatch(/set to join https:\/\/first:6443/);
    expect(await n.names()).toEqual(['damaged', 'etcd']);
  });

  it('leaves everything as it was when the hash tells, after all else was fine, that the snapshot is damaged', async () => {
    await using n = await node();
    expect(await n.run(['--yes', plain])).toMatchObject({ code: 0 });
    const journalNow = async (): Promise<unknown> =>
      JSON.parse(await readFile(join(n.folder, '.etcd-restore.json'), 'utf8'));
    const [names, journal] = [await n.names(), await journalNow()];
    // In the middle of a value, where only the hash sees it.
    const damaged = join(saved.path, 'damaged');
    await writeFile(damaged, await flipped(plain, 100_000));
    const result = await n.run(['--yes', damaged]);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/is not touched\n.*its SHA-256 is \w+, but/);
    expect(await n.names()).toEqual(names);
    expect(await journalNow()).toEqual(journal);
    expect(await contentOf(n.dataDir)).toEqual(before);
  });

  it('refuses while somebody listens where etcd would', async () => {
    await using n = await node();
    await using running = await startEtcd();
    const result = await n.run(['--yes', plain, `--etcd-servers=${running.endpoints[0]}`]);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/somebody listens on 127\.0\.0\.1:\d+/);
  });

  it("refuses another cluster's snapshot until it is told that it is meant", async () => {
    await using n = await node();
    await using other = await startEtcd();
    await other.put([['/registry/namespaces/kube-system', 'uid 00000000-1111-4222-8333-444444444444']]);
    const foreign = await snapshotOf(other, n.folder, 'foreign');
    const refused = await n.run(['--yes', foreign]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(
      /of cluster 00000000-.*this node belongs to 2f0bdc0e-.*\n.*--allow-other-cluster/,
    );
    expect(await n.run(['--yes', '--allow-other-cluster', foreign])).toMatchObject({ code: 0 });
  });

  it.each([
    ['no folder to be in', ['--data-dir=/nonexistent/folder/etcd'], /\/nonexistent\/folder does not exist/],
    ['a file in its place', ['--data-dir=/etc/hostname'], /\/etc\/hostname is a file/],
  ])('refuses a data folder with %s', async (_what, flags, message) => {
    await using n = await node();
    const result = await n.run(['--yes', plain, ...flags]);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(message);
  });

  it('refuses a disk without room, with figures, and one that is read-only', async () => {
    await using small = await smallDisk(250_000_000);
    await using n = await node(small.path);
    const result = await n.run(['--yes', plain]);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/\d+ bytes are needed beside .*, and \d+ are free/);
    expect(await n.names()).toEqual(['etcd']);
    await run('mount', ['-o', 'remount,ro', small.path]);
    const readOnly = await n.run(['--yes', plain]);
    expect(readOnly.code).toBe(1);
    expect(readOnly.stderr).toMatch(/cannot be written to/);
  });

  it('restores into a data folder that is a mount point, and keeps the old data in it', async () => {
    await using disk = await smallDisk(1_000_000_000);
    await cp(late, disk.path, { recursive: true });
    const flags = ['restore', '--distribution=custom', `--data-dir=${disk.path}`, tools, '--yes', plain];
    const result = await runCommand(flags);
    expect(result, result.stderr).toMatchObject({ code: 0 });
    const old = (await readdir(disk.path)).find((name) => name.startsWith('etcd-old-')) ?? '';
    expect(await contentOf(disk.path)).toEqual(before);
    expect(await contentOf(join(disk.path, old))).toEqual(after);
  });

  it('--cluster-reset --print-commands: what it prints does the same', async () => {
    await using n = await node();
    const printed = await n.run(['--cluster-reset', '--print-commands']);
    expect(printed, printed.stderr).toMatchObject({ code: 0 });
    await writeFile(join(n.folder, 'systemctl'), '#!/bin/sh\n', { mode: 0o700 });
    const path = `${n.folder}:${tools.replace('--etcd-tools=', '')}:${process.env['PATH']}`;
    await run('sh', ['-c', printed.stdout], { env: { PATH: path } });
    expect(await n.names()).toEqual(['etcd', expect.stringMatching(/^etcd-old-\d{10}$/), 'systemctl']);
    // The very last key was not noted as agreed upon when this etcd was killed, and such are rightly dropped by a reset.
    expect(await contentOf(n.dataDir)).toMatchObject({ early: 'here' });
  });

  it('--rejoin puts the data aside, --rollback takes them back', async () => {
    await using n = await node();
    const result = await n.run(['--yes', '--rejoin']);
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(result.stdout).toMatch(/--initial-cluster-state=existing/);
    expect(await n.names()).toEqual(['.etcd-restore.json', expect.stringMatching(/^etcd-old-\d{10}$/)]);
    expect(await n.run(['--yes', '--rollback'])).toMatchObject({ code: 0 });
    expect(await n.names()).toEqual(['etcd']);
    expect(await contentOf(n.dataDir)).toEqual(after);
  });

  it.each([
    [['--rollback', '--rejoin'], /exclude each other/],
    [[], /no snapshot is named/],
    [['one', 'two'], /more than one snapshot/],
    [['--rollback', 'one'], /--rollback takes no snapshot/],
    [['one', '--peer-url=host'], /is no address/],
    [['one', '--member-name=a,b'], /is no name of a member/],
  ])('refuses %j before it looks at anything', async (args, message) => {
    const result = await runCommand(['restore', '--distribution=custom', '--data-dir=/nonexistent', ...args]);
    expect(result.code).toBe(2);
    expect(result.stderr).toMatch(message);
  });
});

describe('a restore that is killed', () => {
  const kill = async (step: string, args: readonly string[]): Promise<void> => {
    const ended = await run(process.execPath, [killed, step, 'restore', ...args]).then(
      () => undefined,
      (error: unknown) => (error instanceof Error && 'signal' in error ? error.signal : undefined),
    );
    expect(ended).toBe('SIGKILL');
  };

  it.each(steps)('before the step %s goes on from there', async (step) => {
    await using n = await node();
    const args = [...n.flags, zip];
    await kill(step, args);
    const another = ['start', 'finish'].includes(step) ? zip : plain;
    const other = await n.run(['--yes', another, '--bump-revision=7']);
    expect(other.code).toBe(1);
    expect(other.stderr).toMatch(new RegExp(`is not finished\\n.*stopped in the step ${step}\n.*--rollback`));
    const result = await n.run(['--yes', zip]);
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(result.stdout).toContain(`Going on in the step ${step}, where it stopped.`);
    expect((await n.names()).filter((name) => /-(?:restore|old)-/.test(name))).toHaveLength(1);
    expect(await contentOf(n.dataDir)).toEqual(before);
  });

  it.each(['extract', 'set-aside', 'put-in-place', 'finish'])(
    'before the step %s rolls back',
    async (step) => {
      await using n = await node();
      await kill(step, [...n.flags, zip]);
      const undone = await n.run(['--yes', '--rollback']);
      expect(undone, undone.stderr).toMatchObject({ code: 0 });
      expect((await n.names()).filter((name) => /-(?:restore|old)-/.test(name))).toEqual([]);
      expect(await contentOf(n.dataDir)).toEqual(after);
    },
  );

  it('says so when its journal cannot be read', async () => {
    await using n = await node();
    await mkdir(n.folder, { recursive: true });
    await writeFile(join(n.folder, '.etcd-restore.json'), '{');
    const result = await n.run(['--yes', plain]);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/The journal .* cannot be read/);
    expect(await readFile(join(n.folder, '.etcd-restore.json'), 'utf8')).toBe('{');
  });
});
