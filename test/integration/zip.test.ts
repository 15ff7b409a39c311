import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { maxZipSize, zipOneEntry } from '../../src/snapshot/archive.ts';
import { scratchDir } from '../support/scratch.ts';
import { toolPath } from '../tools/toolbox.ts';

const run = promisify(execFile);
const mebibyte = 1024 * 1024;
const gibibyte = 1024 * mebibyte;
const name = 'on-demand-node-1-1730308816';
const mtime = new Date('2024-10-30T17:20:17Z');

/** Returns the size of the archive. */
async function write(path: string, blocks: Iterable<Buffer>, expectedSize: number): Promise<number> {
  const input = (async function* () {
    for (const block of blocks) yield [block];
  })();
  await using file = await open(path, 'wx', 0o600);
  for await (const parts of zipOneEntry(input, { name, mtime, expectedSize }, new AbortController().signal)) {
    await file.writev([...parts]);
  }
  return (await file.stat()).size;
}

const listing = `
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as archive:
    assert archive.testzip() is None
    for entry in archive.infolist():
        print(entry.filename, entry.file_size, oct(entry.external_attr >> 16), *entry.date_time)
`;

/** UTC, so that the local time of the DOS fields is known here. */
const pythonLists = async (path: string) =>
  (await run('python3', ['-c', listing, path], { env: { ...process.env, TZ: 'UTC' } })).stdout;
const goLists = async (path: string) => (await run(await toolPath('gozip'), ['test', path])).stdout;

describe('a zip', () => {
  it.each([
    { what: 'of nothing', bytes: Buffer.alloc(0), announced: 0 },
    { what: 'of one byte', bytes: Buffer.from('x'), announced: 1 },
    { what: 'of whole blocks', bytes: Buffer.alloc(5 * mebibyte, 'page '), announced: 5 * mebibyte },
    { what: 'of noise', bytes: randomBytes(3 * mebibyte + 17), announced: 3 * mebibyte + 17 },
    { what: 'that was expected to need zip64', bytes: randomBytes(2 * mebibyte), announced: 5 * gibibyte },
  ])('$what is accepted by unzip, Python and Go', async ({ bytes, announced }) => {
    await using dir = await scratchDir();
    const path = join(dir.path, `${name}.zip`);
    const size = await write(path, bytes.length === 0 ? [] : [bytes], announced);
    expect(size).toBeLessThanOrEqual(maxZipSize(bytes.length));
    expect((await run('unzip', ['-t', path])).stdout).toContain('No errors detected');
    expect(await pythonLists(path)).toMatch(`${name} ${bytes.length} 0o100600 2024 10 30 `);
    expect(await goLists(path)).toBe(`${name} ${bytes.length}\n`);
    await run('unzip', ['-q', path, '-d', dir.path]);
    await using file = await open(join(dir.path, name));
    expect((await file.readFile()).equals(bytes)).toBe(true);
    // From the extra field: the DOS time knows even seconds only.
    expect((await file.stat()).mtime).toEqual(mtime);
  });

  // Zeros compress a thousandfold: the archive is small, but its sizes need 64 bits.
  it('of more than 4 GiB is accepted by Python and Go, and listed by unzip', async () => {
    await using dir = await scratchDir();
    const path = join(dir.path, `${name}.zip`);
    const mebibytes = 4200;
    const size = mebibytes * mebibyte;
    const zeros = Buffer.alloc(mebibyte);
    const pages = function* () {
      for (let at = 0; at < mebibytes; at += 1)
        yield at % 100 === 0 ? Buffer.alloc(mebibyte, `${at} `) : zeros;
    };
    await write(path, pages(), size);
    const [python, go, unzip] = await Promise.all([
      pythonLists(path),
      goLists(path),
      run('unzip', ['-l', path]),
    ]);
    expect(python).toMatch(`${name} ${size} 0o100600 `);
    expect(go).toBe(`${name} ${size}\n`);
    expect(unzip.stdout).toMatch(new RegExp(`${size} .* ${name}\n`));
  });
});
