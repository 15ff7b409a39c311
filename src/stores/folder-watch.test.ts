import { EventEmitter } from 'node:events';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { fakeTimers } from '../../test/support/fake-clock.ts';
import { scratchDir } from '../../test/support/scratch.ts';
import type { SnapshotError } from '../errors.ts';
import { watchSnapshotFolder } from './folder-watch.ts';

function systemError(code: string): Error {
  return Object.assign(new Error(code), { code });
}

/** A folder whose watch the kernel grants or refuses as the test says. */
async function start() {
  const scratch = await scratchDir('watch-');
  const dir = join(scratch.path, 'db/snapshots');
  await mkdir(dir, { recursive: true });
  const timers = fakeTimers();
  const stop = new AbortController();
  const states: (SnapshotError | undefined)[] = [];
  const opened: EventEmitter[] = [];
  const kernel: { refusal: Error | undefined } = { refusal: undefined };
  let changes = 0;
  const begin = () =>
    watchSnapshotFolder(dir, {
      timers,
      onChange: () => {
        changes += 1;
      },
      onState: (error) => states.push(error),
      signal: stop.signal,
      open(_dir, onEvent) {
        if (kernel.refusal !== undefined) throw kernel.refusal;
        const watcher = Object.assign(new EventEmitter(), { close: () => undefined });
        opened.push(watcher);
        watcher.on('event', onEvent);
        return watcher;
      },
    });
  let done: Promise<void> | undefined;
  onTestFinished(async () => {
    stop.abort();
    await done;
    await scratch[Symbol.asyncDispose]();
  });
  return {
    dir,
    timers,
    states,
    opened,
    kernel,
    changes: () => changes,
    begin() {
      done = begin();
    },
    /** Lets looks pass until it is so; what the disk answers takes its own time. */
    async until(isSo: () => boolean) {
      while (!isSo()) await timers.advance(5_000);
    },
  };
}

it.each(['ENOSPC', 'EMFILE'])(
  'a kernel that has no watches left (%s) is told, with the cure, and asked again',
  async (code) => {
    const folder = await start();
    folder.kernel.refusal = systemError(code);
    folder.begin();
    await folder.until(() => folder.states.length > 0);
    expect(folder.states).toEqual([
      expect.objectContaining({ code: 'io', why: expect.stringContaining(code) }),
    ]);
    expect(folder.states[0]?.hint).toContain('fs.inotify.max_user_watches');
    folder.kernel.refusal = undefined;
    await folder.until(() => folder.opened.length > 0);
    await folder.until(() => folder.states.length > 1);
    expect(folder.states).toEqual([expect.anything(), undefined]);
  },
);

it('a folder that goes while it is about to be watched ends nothing', async () => {
  const folder = await start();
  folder.kernel.refusal = systemError('ENOENT');
  folder.begin();
  await folder.until(() => folder.changes() > 0);
  folder.kernel.refusal = undefined;
  await folder.until(() => folder.opened.length > 0);
  expect(folder.states).toEqual([]);
});

it('a watch that breaks is opened anew, and what happened meanwhile is looked for', async () => {
  const folder = await start();
  folder.begin();
  await folder.until(() => folder.opened.length > 0);
  const before = folder.changes();
  folder.opened[0]?.emit('error', systemError('EIO'));
  await folder.until(() => folder.opened.length > 1);
  expect(folder.changes()).toBeGreaterThan(before);
});

it('a folder that is removed and made again is watched again', async () => {
  const folder = await start();
  folder.begin();
  await folder.until(() => folder.opened.length > 0);
  await rm(folder.dir, { recursive: true });
  const before = folder.changes();
  await folder.until(() => folder.changes() > before);
  await mkdir(folder.dir);
  await folder.until(() => folder.opened.length > 1);
});

it('a file that grows is spoken of once, when it is left alone; another one meanwhile at its own time', async () => {
  const folder = await start();
  folder.begin();
  await folder.until(() => folder.opened.length > 0);
  const [watcher] = folder.opened;
  const before = folder.changes();
  for (let at = 0; at < 20; at += 1) {
    watcher?.emit('event', 'grows');
    await folder.timers.advance(100);
  }
  expect(folder.changes()).toBe(before);
  watcher?.emit('event', 'whole');
  watcher?.emit('event', 'grows');
  await folder.timers.advance(100);
  watcher?.emit('event', 'grows');
  await folder.timers.advance(100);
  expect(folder.changes()).toBe(before + 1);
  await folder.timers.advance(100);
  expect(folder.changes()).toBe(before + 2);
});

it.each(['.etcd-snapshot-n1-1.tmp', 'snapshot.part'])(
  '%s is unfinished, and changes nothing',
  async (name) => {
    const folder = await start();
    folder.begin();
    await folder.until(() => folder.opened.length > 0);
    const before = folder.changes();
    folder.opened[0]?.emit('event', name);
    await folder.timers.advance(1_000);
    expect(folder.changes()).toBe(before);
  },
);
