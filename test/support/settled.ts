import { open, readlink } from 'node:fs/promises';
import { relative } from 'node:path';

/** What `work` has written out to the disk for good, by the names that it had then, inside of `root`; itself is ''. */
export async function settledBy(root: string, work: () => Promise<unknown>): Promise<string[]> {
  const settled: string[] = [];
  await using opened = await open(root, 'r');
  const handles: { sync: (this: { readonly fd: number }) => Promise<void> } = Object.getPrototypeOf(opened);
  const { sync } = handles;
  handles.sync = async function settle() {
    settled.push(relative(root, await readlink(`/proc/self/fd/${this.fd}`)));
    await sync.call(this);
  };
  try {
    await work();
  } finally {
    handles.sync = sync;
  }
  return settled.sort();
}
