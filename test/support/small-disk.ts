import { execFile, execFileSync } from 'node:child_process';
import { open } from 'node:fs/promises';
import { promisify } from 'node:util';
import { systemCode } from '../../src/errors.ts';
import { type ScratchDir, scratchDir } from './scratch.ts';

const run = promisify(execFile);

/** A file system of its own (tmpfs) with room for so many bytes. @throws Error when this process may not mount */
export async function smallDisk(
  bytes: number,
  options: { readonly readOnly?: boolean } = {},
): Promise<ScratchDir> {
  const mode = options.readOnly === true ? 'ro' : 'rw';
  return mounted('tmpfs', ['-o', `size=${bytes},mode=0700,${mode}`]);
}

/** A file system that takes files, but neither hard links nor sockets: the kernel's message queues. @throws as `smallDisk` */
export function bareDisk(): Promise<ScratchDir> {
  return mounted('mqueue', []);
}

async function mounted(type: string, options: readonly string[]): Promise<ScratchDir> {
  if (process.getuid?.() !== 0) {
    throw new Error(`this test mounts a ${type}, and mounting needs root: run the tests as root`);
  }
  const scratch = await scratchDir('disk-');
  await run('mount', ['-t', type, ...options, type, scratch.path]);
  // Before the folder is removed at the end of an interrupted run: a mount point cannot be.
  const unmount = () => execFileSync('umount', ['--lazy', scratch.path]);
  process.prependOnceListener('exit', unmount);
  return {
    path: scratch.path,
    async [Symbol.asyncDispose]() {
      process.off('exit', unmount);
      await run('umount', ['--lazy', scratch.path]);
      await scratch[Symbol.asyncDispose]();
    },
  };
}

/** Takes all the room that there is, into that file. */
export async function fillUp(path: string): Promise<void> {
  await using file = await open(path, 'w');
  for (const size of [1_000_000, 1000]) {
    const block = Buffer.alloc(size);
    try {
      for (;;) await file.write(block);
    } catch (error) {
      if (systemCode(error) !== 'ENOSPC') throw error;
    }
  }
}
