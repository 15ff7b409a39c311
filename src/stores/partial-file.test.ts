import { createHash, randomBytes } from 'node:crypto';
import { appendFile, readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { type ScratchDir, scratchDir } from '../../test/support/scratch.ts';
import { bareDisk } from '../../test/support/small-disk.ts';
import { diskCalls } from './atomic-write.ts';
import { PartialFile, type PartialPlan, sweepPartials } from './partial-file.ts';

const never = new AbortController().signal;
const content = randomBytes(2_500);
const ranges = [
  { start: 0, end: 1_000 },
  { start: 1_000, end: 2_000 },
  { start: 2_000, end: 2_500 },
];

const planIn = (dir: ScratchDir, id = '01234567'): PartialPlan => ({
  path: join(dir.path, 'snapshot'),
  id,
  size: content.length,
  ranges,
});

async function fill(file: PartialFile, wanted: readonly (typeof ranges)[number][]): Promise<void> {
  for (const range of wanted) {
    await file.write(content.subarray(range.start, range.end), range.start);
    await file.finish(range);
  }
}

it('has its name only when it is committed, and leaves nothing else', async () => {
  await using dir = await scratchDir();
  await using file = await PartialFile.open(planIn(dir), never);
  await fill(file, ranges.toReversed());
  expect(file.missing).toEqual([]);
  expect(await readdir(dir.path)).not.toContain('snapshot');
  await file.commit(never);
  expect(await readdir(dir.path)).toEqual(['snapshot']);
  expect((await readFile(join(dir.path, 'snapshot'))).equals(content)).toBe(true);
});

it('sums any part of it', async () => {
  await using dir = await scratchDir();
  await using file = await PartialFile.open(planIn(dir), never);
  await fill(file, ranges);
  const md5 = (start: number, end: number) =>
    createHash('md5').update(content.subarray(start, end)).digest('hex');
  expect(await file.sum({ start: 0, end: 1_000 })).toBe(md5(0, 1_000));
  expect(await file.sum({ start: 0, end: 2_500 })).toBe(md5(0, 2_500));
  await expect(file.sum({ start: 2_000, end: 2_501 })).rejects.toThrow(/ends at 2500/);
});

it('is taken up again with what is really there', async () => {
  await using dir = await scratchDir();
  {
    await using file = await PartialFile.open(planIn(dir), never);
    await fill(file, ranges.slice(0, 2));
  }
  const [data = '', list = ''] = (await readdir(dir.path)).toSorted().map((name) => join(dir.path, name));
  // What a power cut may leave: a list that knows more than the disk, and whose last line is torn.
  const bytes = await readFile(data);
  bytes.fill(0, 500, 600);
  await writeFile(data, bytes);
  await appendFile(list, `9 ${'0'.repeat(32)}\n2 0123`);
  await using file = await PartialFile.open(planIn(dir), never);
  expect(file.missing).toEqual([ranges[0], ranges[2]]);
  await fill(file, file.missing);
  await file.commit(never);
  expect((await readFile(join(dir.path, 'snapshot'))).equals(content)).toBe(true);
});

it('goes on after a list whose last line was torn', async () => {
  await using dir = await scratchDir();
  {
    await using file = await PartialFile.open(planIn(dir), never);
    await fill(file, ranges.slice(0, 1));
  }
  const list = (await readdir(dir.path)).find((name) => name.endsWith('.ranges')) ?? '';
  await appendFile(join(dir.path, list), '1 0123');
  {
    await using file = await PartialFile.open(planIn(dir), never);
    await fill(file, ranges.slice(1, 2));
  }
  await using file = await PartialFile.open(planIn(dir), never);
  expect(file.missing).toEqual([ranges[2]]);
});

it('takes nothing of other bytes for the same name, removes that, and touches nothing else', async () => {
  await using dir = await scratchDir();
  {
    await using file = await PartialFile.open(planIn(dir), never);
    await fill(file, ranges);
  }
  const foreign = ['.other.01234567.download', '.snapshot.part', 'snapshot.01234567.download'];
  for (const name of foreign) await writeFile(join(dir.path, name), 'x');
  await using file = await PartialFile.open(planIn(dir, '89abcdef'), never);
  expect(file.missing).toEqual(ranges);
  expect((await readdir(dir.path)).toSorted()).toEqual(
    [...foreign, '.snapshot.89abcdef.download'].toSorted(),
  );
  await file.drop();
  expect((await readdir(dir.path)).toSorted()).toEqual(foreign.toSorted());
});

it('is swept when nobody has come back for it in a day, and not before', async () => {
  await using dir = await scratchDir();
  {
    await using file = await PartialFile.open(planIn(dir), never);
    await fill(file, ranges.slice(0, 1));
  }
  await writeFile(join(dir.path, 'snapshot'), 'x');
  const names = (await readdir(dir.path)).toSorted();
  const age = async (hours: number) => {
    const then = new Date(Date.now() - hours * 3_600_000);
    for (const name of names) await utimes(join(dir.path, name), then, then);
  };
  await age(23);
  expect(await sweepPartials(dir.path)).toEqual([]);
  await age(25);
  expect((await sweepPartials(dir.path)).toSorted()).toEqual(names.slice(0, 2));
  expect(await readdir(dir.path)).toEqual(['snapshot']);
});

it('replaces no file, not even one that came while it was filled', async () => {
  await using dir = await scratchDir();
  await using file = await PartialFile.open(planIn(dir), never);
  await fill(file, ranges);
  await writeFile(join(dir.path, 'snapshot'), 'mine');
  await expect(file.commit(never)).rejects.toMatchObject({ code: 'exists', hint: expect.any(String) });
  expect(await readFile(join(dir.path, 'snapshot'), 'utf8')).toBe('mine');
});

it('is on the disk before it has its name, and the name before anybody is told', async () => {
  await using dir = await scratchDir();
  const done: string[] = [];
  const calls: typeof diskCalls = {
    ...diskCalls,
    open: async (...args) => {
      const file = await diskCalls.open(...args);
      const sync = file.sync.bind(file);
      file.sync = async () => {
        done.push('sync');
        await sync();
      };
      return file;
    },
    link: async (from, to) => {
      done.push(String(to).endsWith('.link') ? 'probe' : 'link');
      await diskCalls.link(from, to);
    },
    syncFolder: async (path) => {
      done.push('sync folder');
      await diskCalls.syncFolder(path);
    },
  };
  await using file = await PartialFile.open(planIn(dir), never, calls);
  await fill(file, ranges);
  await file.commit(never);
  expect(done).toEqual(['probe', 'sync', 'link', 'sync folder']);
});

it('says at once that a file system has no hard links', async () => {
  await using dir = await bareDisk();
  await expect(PartialFile.open(planIn(dir), never)).rejects.toMatchObject({
    code: 'io',
    why: expect.stringContaining('no hard links'),
  });
});
