import { execFile } from 'node:child_process';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { zipOneEntry } from '../../src/snapshot/archive.ts';
import { scratchDir } from '../support/scratch.ts';
import { toolPath } from '../tools/toolbox.ts';

const run = promisify(execFile);
const mebibyte = 1024 * 1024;
const name = 'on-demand-node-1-1730308816';
const mtime = new Date('2024-10-30T17:20:16Z');

async function write(path: string, mebibytes: number, make: (at: number) => Buffer): Promise<void> {
  const input = (async function* () {
    for (let at = 0; at < mebibytes; at += 1) yield [make(at)];
  })();
  const file = await open(path, 'wx', 0o600);
  const entry = { name, mtime, expectedSize: mebibytes * mebibyte };
  for await (const parts of zipOneEntry(input, entry, new AbortController().signal))
    await file.writev([...parts]);
  await file.close();
}

const listing = `
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as archive:
    assert archive.testzip() is None
    for entry in archive.infolist():
        print(entry.filename, entry.file_size, oct(entry.external_attr >> 16))
`;

describe.each([
  ['of 5 MiB', 5],
  // Zeros compress a thousandfold: the archive is small, but its sizes need 64 bits.
  ['of more than 4 GiB, with zip64', 4200],
])('a zip %s', (_what, mebibytes) => {
  const zeros = Buffer.alloc(mebibyte);
  const block = (at: number) => (at % 100 === 0 ? Buffer.alloc(mebibyte, `page ${at} `) : zeros);

  it('is accepted by unzip, Python and Go, with one entry named like the snapshot', async () => {
    await using dir = await scratchDir();
    const path = join(dir.path, `${name}.zip`);
    await write(path, mebibytes, block);
    const size = mebibytes * mebibyte;
    expect((await run('unzip', ['-t', path])).stdout).toContain('No errors detected');
    expect((await run('python3', ['-c', listing, path])).stdout).toBe(`${name} ${size} 0o100600\n`);
    expect((await run(await toolPath('gozip'), ['test', path])).stdout).toBe(`${name} ${size}\n`);
  });
});
