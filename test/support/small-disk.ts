import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type ScratchDir, scratchDir } from './scratch.ts';

const run = promisify(execFile);

/** A file system of its own (tmpfs) with room for so many bytes. Mounting needs root. */
export async function smallDisk(
  bytes: number,
  options: { readonly readOnly?: boolean } = {},
): Promise<ScratchDir> {
  const scratch = await scratchDir('disk-');
  const mode = options.readOnly === true ? 'ro' : 'rw';
  await run('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=0700,${mode}`, 'tmpfs', scratch.path]);
  return {
    path: scratch.path,
    async [Symbol.asyncDispose]() {
      await run('umount', ['--lazy', scratch.path]);
      await scratch[Symbol.asyncDispose]();
    },
  };
}
