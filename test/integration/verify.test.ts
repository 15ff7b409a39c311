import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFile, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { runCommand, startCommand } from '../support/command.ts';
import { type EtcdCluster, startEtcd } from '../support/etcd-server.ts';
import { type ScratchDir, scratchDir } from '../support/scratch.ts';
import { smallDisk } from '../support/small-disk.ts';
import { flipped, snapshotOf, toolsFlag } from '../support/snapshot-of.ts';
import { toolPath } from '../tools/toolbox.ts';

const run = promisify(execFile);

let etcd: EtcdCluster;
let old: EtcdCluster;
let saved: ScratchDir;
let plain: string;
let zip: string;
let tools: string;
let hashKV: number;

beforeAll(async () => {
  [etcd, old, saved, tools] = await Promise.all([
    startEtcd({ members: 3 }),
    startEtcd({ version: '3.5' }),
    scratchDir('saved-'),
    toolsFlag(),
  ]);
  const many = (count: number, prefix: string) =>
    Array.from({ length: count }, (_unused, at) => [`/registry/${prefix}/${at}`, `value ${at}`] as const);
  const uid = '2f0bdc0e-5fb2-4d6d-9f0e-0f6e1b0f3a11';
  await etcd.put([
    ...many(12, 'configmaps/default'),
    ...many(3, 'services/specs/default'),
    ...many(2, 'example.com/widgets/default'),
    [
      '/registry/namespaces/kube-system',
      `k8s\0 kube-system ${uid} later c4ca4238-0000-4000-8000-000000000000`,
    ],
    ['/registry/configmaps/default/0', 'changed'],
    ['other', 'of no Kubernetes'],
  ]);
  await etcd.fill(3 * 1024 * 1024);
  await old.put(many(5, 'pods/default'));
  plain = await snapshotOf(etcd, saved.path, 'plain');
  zip = await snapshotOf(etcd, saved.path, 'zip', ['--snapshot-compress']);
  const { stdout } = await run(await toolPath('etcdctl'), [
    'endpoint',
    'hashkv',
    '-w=json',
    `--endpoints=${etcd.endpoints[0]}`,
    `--cacert=${etcd.settings().caFile}`,
    `--cert=${etcd.settings().certFile}`,
    `--key=${etcd.settings().keyFile}`,
  ]);
  hashKV = JSON.parse(stdout)[0].HashKV.hash;
});
afterAll(async () => {
  for (const part of [etcd, old, saved]) await part?.[Symbol.asyncDispose]();
});

/** In an empty temporary folder, which must be empty again at the end. */
async function verify(args: readonly string[], env: Record<string, string> = {}) {
  await using temp = await scratchDir('temp-');
  const result = await runCommand(['verify', tools, `--temp-dir=${temp.path}`, ...args], env);
  expect(await readdir(temp.path)).toEqual([]);
  return result;
}

describe('etcd-snapshot verify', () => {
  it.each([['plain'], ['zip']])(
    'tells what is in a %s snapshot, as the etcd that it is of does',
    async (form) => {
      const path = form === 'zip' ? zip : plain;
      const before = await readFile(path);
      const result = await verify([path, '-o', 'json']);
      expect(result, result.stderr).toMatchObject({ code: 0, stderr: '' });
      const [found] = JSON.parse(result.stdout).snapshots;
      expect(found).toMatchObject({
        given: path,
        restorable: true,
        path,
        size: before.length,
        compressed: form === 'zip',
        clusterId: '2f0bdc0e-5fb2-4d6d-9f0e-0f6e1b0f3a11',
        etcdVersion: '3.6.0',
        hashKV,
      });
      expect(found.records).toBe(found.keys + 1);
      expect(found.kinds).toMatchObject({
        configmaps: 12,
        services: 3,
        'widgets.example.com': 2,
        namespaces: 1,
      });
      expect(found.members.map((member: { name: string }) => member.name).sort()).toEqual(['m0', 'm1', 'm2']);
      if (form === 'plain') {
        expect(found.sha256).toBe(createHash('sha256').update(before.subarray(0, -32)).digest('hex'));
      }
      expect(await readFile(path)).toEqual(before);
    },
  );

  it('takes a name in the snapshot folder, several at once, and a zip of another program', async () => {
    await using dir = await scratchDir();
    const script =
      'import sys,zipfile; zipfile.ZipFile(sys.argv[1],"w",zipfile.ZIP_DEFLATED).write(sys.argv[2],"snap-1")';
    const foreign = join(dir.path, 'foreign.zip');
    await run('python3', ['-c', script, foreign, plain]);
    await symlink(foreign, join(dir.path, 'latest'));
    const name = plain.slice(saved.path.length + 1);
    const result = await verify([
      `--dir=${saved.path}`,
      name,
      foreign,
      join(dir.path, 'latest'),
      '-o',
      'yaml',
    ]);
    expect(result, result.stderr).toMatchObject({ code: 0 });
    const { snapshots } = parse(result.stdout);
    expect(snapshots.map((one: { path: string }) => one.path)).toEqual([plain, foreign, foreign]);
  });

  it('opens a snapshot of etcd 3.5, and says so in words', async () => {
    await using dir = await scratchDir();
    const path = await snapshotOf(old, dir.path, 'old');
    const result = await verify([path]);
    expect(result, result.stderr).toMatchObject({ code: 0, stderr: '' });
    expect(result.stdout).toMatch(/: can be restored\n/);
    expect(result.stdout).toMatch(/etcd +of a cluster of version 3\.5\.0; restored by etcdutl 3\.6/);
    expect(result.stdout).toMatch(/objects +5 of Kubernetes: 5 pods\n/);
  });

  it('heeds no variable of etcd that the user has set', async () => {
    await using dir = await scratchDir();
    const env = { ETCD_DATA_DIR: join(dir.path, 'wrong'), ETCD_LISTEN_CLIENT_URLS: 'http://127.0.0.1:1' };
    expect(await verify([plain], env)).toMatchObject({ code: 0, stderr: '' });
    expect(await readdir(dir.path)).toEqual([]);
  });

  it('goes on after a bad one, and ends with 1', async () => {
    const result = await verify([join(saved.path, 'none'), plain]);
    expect(result.code).toBe(1);
    expect(result.stdout).toMatch(/none: CANNOT BE RESTORED\n.*: can be restored\n/s);
    expect(result.stderr).toContain('There is no snapshot');
  });

  it('says what to install where etcdutl is missing', async () => {
    await using empty = await scratchDir();
    const result = await runCommand(['verify', plain, `--etcd-tools=${empty.path}`]);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/etcdutl is not found\n.*--etcd-tools names\n.*Install etcdutl and etcd/s);
  });

  it('interrupted, ends its etcd and removes its folder', async () => {
    await using temp = await scratchDir('temp-');
    const command = startCommand(['verify', tools, `--temp-dir=${temp.path}`, plain]);
    await command.until(async () => (await readdir(temp.path)).length > 0);
    command.child.kill('SIGTERM');
    expect((await command.done).code).toBe(130);
    expect(await readdir(temp.path)).toEqual([]);
    await noEtcdOf(temp.path);
  });

  it('killed, leaves no etcd running', async () => {
    await using temp = await scratchDir('temp-');
    const command = startCommand(['verify', tools, `--temp-dir=${temp.path}`, plain]);
    await command.until(async () => (await processesOf(temp.path)).includes('--listen-client-urls'));
    command.child.kill('SIGKILL');
    await command.done;
    await noEtcdOf(temp.path);
  });
});

async function processesOf(folder: string): Promise<string> {
  const lines = await Promise.all(
    (await readdir('/proc'))
      .filter((name) => /^\d+$/.test(name))
      .map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
  );
  return lines.filter((line) => line.includes(folder) && line.includes('--data-dir')).join('\n');
}

/** Waits until it is so: a process that was killed takes a moment to be gone. */
async function noEtcdOf(folder: string): Promise<void> {
  await expect.poll(() => processesOf(folder), { timeout: 60_000, interval: 50 }).toBe('');
}

const python = (script: string, ...args: string[]) => run('python3', ['-c', script, ...args]);
const zipped = (entries: string) => `
import sys, zipfile
plain = open(sys.argv[2], 'rb').read()
with zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED) as archive:
${entries}`;

/** Encrypts as `zip -e` does, with the password `password`; Python opens such zips and makes none. */
const ENCRYPTED = `
import struct, sys, zlib
plain = open(sys.argv[2], 'rb').read()[:4128]
table = [0] * 256
for n in range(256):
    c = n
    for _ in range(8): c = (c >> 1) ^ (0xedb88320 if c & 1 else 0)
    table[n] = c
keys = [0x12345678, 0x23456789, 0x34567890]
def update(byte):
    keys[0] = (keys[0] >> 8) ^ table[(keys[0] ^ byte) & 255]
    keys[1] = ((keys[1] + (keys[0] & 255)) * 134775813 + 1) & 0xffffffff
    keys[2] = (keys[2] >> 8) ^ table[(keys[2] ^ (keys[1] >> 24)) & 255]
def encrypt(byte):
    mask = (keys[2] | 2) & 0xffff
    update(byte)
    return byte ^ ((mask * (mask ^ 1) >> 8) & 255)
for byte in b'password': update(byte)
crc = zlib.crc32(plain)
sealed = bytes(encrypt(byte) for byte in bytes(11) + bytes([crc >> 24]) + plain)
facts = struct.pack('<HHHHHIIIHH', 20, 1, 0, 0, 33, crc, len(sealed), len(plain), 8, 0)
local = b'PK\\x03\\x04' + facts + b'snapshot' + sealed
central = b'PK\\x01\\x02' + struct.pack('<H', 20) + facts + struct.pack('<HHHII', 0, 0, 0, 0, 0) + b'snapshot'
end = b'PK\\x05\\x06' + struct.pack('<HHHHIIH', 0, 0, 1, 1, len(central), len(local), 0)
open(sys.argv[1], 'wb').write(local + central + end)`;

/** Each makes a bad snapshot at `path`, and is refused with a message like this. */
const bad: readonly [string, (path: string) => Promise<unknown>, RegExp][] = [
  ['an empty file', (path) => writeFile(path, ''), /it is empty/],
  ['a text file', (path) => writeFile(path, 'apiVersion: v1\n'.repeat(100)), /its first bytes are others/],
  ['a folder', (path) => mkdir(path), /it is a folder/],
  ['a FIFO', (path) => run('mkfifo', [path]), /it is a FIFO/],
  ['a link to nothing', (path) => symlink('/nonexistent/snapshot', path), /There is no snapshot/],
  ['a link to itself', (path) => symlink(path, path), /There is no snapshot/],
  [
    'a truncated one',
    async (path) => writeFile(path, (await readFile(plain)).subarray(0, -5000)),
    /it was cut off/,
  ],
  [
    'one without its hash',
    async (path) => writeFile(path, (await readFile(plain)).subarray(0, -32)),
    /ends with its hash/,
  ],
  [
    'one with something behind it',
    async (path) => writeFile(path, Buffer.concat([await readFile(plain), Buffer.alloc(7)])),
    /something was added/,
  ],
  [
    'one that lost a page in the middle',
    async (path) => {
      const bytes = await readFile(plain);
      await writeFile(path, Buffer.concat([bytes.subarray(0, 40_960), bytes.subarray(45_056)]));
    },
    /its SHA-256 is [0-9a-f]{64}, but the one that etcd put behind it is/,
  ],
  [
    'a byte flipped in the magic number',
    async (path) => writeFile(path, await flipped(plain, 16)),
    /its first bytes are others/,
  ],
  ['a byte flipped in the head', async (path) => writeFile(path, await flipped(plain, 40)), /its SHA-256 is/],
  [
    'a byte flipped in the middle',
    async (path) => writeFile(path, await flipped(plain, 1_000_000)),
    /its SHA-256 is/,
  ],
  ['a byte flipped in the hash', async (path) => writeFile(path, await flipped(plain, -3)), /its SHA-256 is/],
  [
    'a zip of two files',
    (path) =>
      python(zipped('    archive.writestr("one", plain)\n    archive.writestr("two", plain)'), path, plain),
    /it holds 2 files/,
  ],
  ['a zip of nothing', (path) => python(zipped('    pass'), path, plain), /it holds 0 files/],
  [
    'a zip of an absolute path',
    (path) => python(zipped('    archive.writestr("/etc/cron.d/x", plain)'), path, plain),
    /absolute path|path separator/,
  ],
  [
    'a zip of ../',
    (path) => python(zipped('    archive.writestr("../../x", plain)'), path, plain),
    /relative path|path separator/,
  ],
  [
    'a zip of a folder',
    (path) => python(zipped('    archive.writestr("folder/", "")'), path, plain),
    /path separator/,
  ],
  [
    'a zip of a text',
    (path) => python(zipped('    archive.writestr("x", b"a" * 1056)'), path, plain),
    /no database of etcd/,
  ],
  [
    'a zip bomb',
    (path) => python(zipped('    archive.writestr("x", b"\\0" * (200 * 1024 * 1024 + 32))'), path, plain),
    /no database of etcd/,
  ],
  [
    'a zip of a snapshot that was cut off',
    (path) => python(zipped('    archive.writestr("x", plain[:-9000])'), path, plain),
    /it was cut off/,
  ],
  [
    'a zip of a damaged snapshot',
    (path) => python(zipped('    archive.writestr("x", plain[:-1] + b"x")'), path, plain),
    /its SHA-256 is/,
  ],
  [
    'a zip whose size is a lie',
    async (path) => {
      await python(zipped('    archive.writestr("x", plain)'), path, plain);
      const bytes = await readFile(path);
      const at = bytes.lastIndexOf(Buffer.from('PK\x01\x02'));
      bytes.writeUInt32LE(bytes.readUInt32LE(at + 24) - 512, at + 24);
      await writeFile(path, bytes);
    },
    /too many bytes/,
  ],
  [
    'a truncated zip',
    async (path) => writeFile(path, (await readFile(zip)).subarray(0, -30)),
    /is no zip of a snapshot/,
  ],
  [
    'a zip with a flipped byte',
    async (path) => writeFile(path, await flipped(zip, 100_000)),
    /is no zip of a snapshot|SHA-256/,
  ],
  ['an encrypted zip', (path) => python(ENCRYPTED, path, plain), /it is encrypted/],
];

describe('etcd-snapshot verify refuses', () => {
  it.each(bad)('%s', async (_what, make, message) => {
    await using dir = await scratchDir();
    const path = join(dir.path, 'snapshot');
    await make(path);
    const result = await verify([path, '-o', 'json']);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(message);
    expect(result.stderr).toContain('  do:  ');
    expect(JSON.parse(result.stdout).snapshots).toMatchObject([{ given: path, restorable: false }]);
    expect(await readdir(dirname(path))).toEqual(['snapshot']);
  });

  it('a file that grows while it is read', async () => {
    await using dir = await scratchDir();
    const path = join(dir.path, 'snapshot');
    await writeFile(path, await readFile(plain));
    const grower = setInterval(() => void appendFile(path, Buffer.alloc(512)), 1);
    try {
      const result = await verify([path]);
      expect(result.code).toBe(1);
      expect(result.stderr).toMatch(/changed while it was read|SHA-256/);
    } finally {
      clearInterval(grower);
    }
  });

  it('to begin where the throw-away restore has no room', async () => {
    await using disk = await smallDisk(50_000_000);
    const result = await runCommand(['verify', tools, `--temp-dir=${disk.path}`, plain]);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(
      /not enough space in .*\n.*\d+ bytes are needed, and \d+ are free\n.*--temp-dir/,
    );
    expect(await readdir(disk.path)).toEqual([]);
    expect((await stat(plain)).size).toBeGreaterThan(0);
  });
});
