import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';
import { type ScratchDir, scratchDir } from './scratch.ts';

const run = promisify(execFile);

/** A file system of its own (tmpfs) with room for so many bytes. @throws Error when this process may not mount */
export async function smallDisk(
  bytes: number,
  options: { readonly readOnly?: boolean } = {},
): Promise<ScratchDir> {
  if (process.getuid?.() !== 0) {
    throw new Error('a small disk is a mounted tmpfs, and mounting needs root: run the tests as root');
  }
  const scratch = await scratchDir('disk-');
  const mode = options.readOnly === true ? 'ro' : 'rw';
  await run('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=0700,${mode}`, 'tmpfs', scratch.path]);
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
