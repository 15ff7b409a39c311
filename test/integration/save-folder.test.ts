import { chmod, mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CommandResult, etcdFlags, runCommand } from '../support/command.ts';
import { type EtcdCluster, startEtcd } from '../support/etcd-server.ts';
import { saveScene } from '../support/save-scene.ts';
import { scratchDir } from '../support/scratch.ts';
import { smallDisk } from '../support/small-disk.ts';
import { startTcpFront } from '../support/tcp-front.ts';

const mebibyte = 1024 * 1024;
/** Root without its right to read and write everything: what a folder's mode says then holds for it too. */
const unprivileged = ['setpriv', '--bounding-set=-dac_override,-dac_read_search'];

let etcd: EtcdCluster;
beforeAll(async () => {
  etcd = await startEtcd();
  await etcd.fill(20 * mebibyte);
});
afterAll(() => etcd?.[Symbol.asyncDispose]());

/** A save into the folder that is the default of K3s with that data folder. */
function saveByDefault(dataDir: string): Promise<CommandResult> {
  const where = ['--distribution=k3s', `--data-dir=${dataDir}`, '--node-name=node-1'];
  return runCommand(['save', '--debug', ...where, ...etcdFlags(etcd.settings())]);
}

describe('a snapshot folder that', () => {
  it('is the default and missing is made, for its owner alone', async () => {
    await using data = await scratchDir();
    const token = 'K10c0ffee::server:a-secret-password';
    await mkdir(join(data.path, 'server'));
    await writeFile(join(data.path, 'server/token'), token, { mode: 0o600 });
    const { code, stderr } = await saveByDefault(data.path);
    expect(code, stderr).toBe(0);
    expect(stderr).not.toContain('a-secret-password');
    const dir = join(data.path, 'server/db/snapshots');
    expect((await stat(dir)).mode & 0o777).toBe(0o700);
    const [name, ...more] = await readdir(dir);
    expect(name).toMatch(/^on-demand-node-1-\d{10}$/);
    expect(more).toEqual([]);
  });

  it('is the default of a server that is not on this node is not made, nor anything above it', async () => {
    await using data = await scratchDir();
    const { code, stderr } = await saveByDefault(join(data.path, 'k3z'));
    expect(code, stderr).toBe(1);
    expect(stderr).toContain(`${data.path}/k3z/server does not exist`);
    expect(stderr).toContain('--data-dir');
    const list = await runCommand(['ls', '--distribution=k3s', `--data-dir=${data.path}/k3z`]);
    expect(list.code).toBe(1);
    expect(list.stderr).toContain(`${data.path}/k3z/server does not exist`);
    expect(await readdir(data.path)).toEqual([]);
  });

  it('was named and is missing is not made', async () => {
    await using scene = await saveScene({ etcd: etcd.settings() });
    const dir = join(scene.scratch, 'elsewhere');
    const result = await scene.run([`--dir=${dir}`]);
    await expect(stat(dir)).rejects.toMatchObject({ code: 'ENOENT' });
    await scene.aftermath(result, { code: 1, local: 0, says: [`${dir} does not exist`, 'Make it', '--dir'] });
  });

  it('went away with its snapshots is not made anew', async () => {
    await using scene = await saveScene({ etcd: etcd.settings() });
    await rm(scene.dir, { recursive: true });
    const result = await scene.run();
    await mkdir(scene.dir);
    await scene.aftermath(result, { code: 1, local: 0, says: ['does not exist'] });
  });

  it('was named and is a file is left alone', async () => {
    await using scene = await saveScene({ etcd: etcd.settings() });
    const file = join(scene.scratch, 'file');
    await writeFile(file, 'precious');
    const result = await scene.run([`--dir=${file}`]);
    expect((await stat(file)).size).toBe('precious'.length);
    await scene.aftermath(result, { code: 1, local: 0, says: [`${file} is not a folder`, '--dir'] });
  });

  it.each(['server/db/snapshots', 'server'])(
    'is the default and lies where %s is a file is an error',
    async (file) => {
      await using data = await scratchDir();
      const path = join(data.path, file);
      await mkdir(join(path, '..'), { recursive: true });
      await writeFile(path, 'precious');
      const { code, stderr } = await saveByDefault(data.path);
      expect(code, stderr).toBe(1);
      expect(stderr).toContain(data.path);
      expect(stderr).toMatch(/^ {2}why: .+\n {2}do: {2}.*--dir.*/m);
      expect((await stat(path)).size).toBe('precious'.length);
    },
  );

  it('is on a file system mounted read-only is an error that says so', async () => {
    await using disk = await smallDisk(40 * mebibyte, { readOnly: true });
    await using scene = await saveScene({ etcd: etcd.settings(), dir: disk.path });
    const says = ['is mounted read-only', 'Mount it writable, or choose another folder with --dir'];
    await scene.aftermath(await scene.run(), { code: 1, local: 0, says });
  });

  it('this user may not write to is an error that says so', async () => {
    await using scene = await saveScene({ etcd: etcd.settings() });
    await chmod(scene.dir, 0o500);
    const result = await scene.run([], unprivileged);
    await chmod(scene.dir, 0o700);
    const says = ['this user may not write to', 'Run as the owner of the folder'];
    await scene.aftermath(result, { code: 1, local: 0, says });
  });

  it.each([
    {
      what: 'has no room, which shows beforehand',
      flags: [],
      room: 16,
      says: /\d+ bytes are needed, .* \d+ bytes are free/,
    },
    {
      what: 'fills up in mid-write',
      flags: ['--snapshot-compress'],
      room: 4,
      says: /the disk is full: \d+ bytes are free/,
    },
  ])('$what, keeps nothing', async ({ flags, room, says }) => {
    await using disk = await smallDisk(room * mebibyte);
    await using scene = await saveScene({ etcd: etcd.settings(), dir: disk.path });
    const result = await scene.run(flags);
    await scene.aftermath(result, { code: 1, local: 0, says: [says, 'Free some space'] });
  });
});

describe('two saves at once in one folder', () => {
  it('the second says so and exits, the first is whole', async () => {
    await using scene = await saveScene({ etcd: etcd.settings() });
    await using front = await startTcpFront(new URL(etcd.endpoints[0] ?? '').host);
    front.throttle(8 * mebibyte);
    const first = scene.start([`--etcd-servers=https://${front.endpoint}`]);
    await first.until(async () => (await scene.temporaries()).some((name) => name.endsWith('.part')));
    const second = await scene.run(['--name=second']);
    const pid = `process ${first.child.pid} `;
    const says = ['Another save is already running', pid, 'Wait until it has ended'];
    await scene.aftermath(second, { code: 1, local: 0, says, next: false });
    front.heal();
    await scene.aftermath(await first.done, { code: 0, local: 1 });
    expect((await scene.finals()).filter((name) => name.startsWith('second'))).toEqual([]);
  });
});
