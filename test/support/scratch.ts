import { rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface ScratchDir extends AsyncDisposable {
  readonly path: string;
}

/** Folders that nobody has disposed of yet; an interrupted run takes them along. */
const left = new Set<string>();
process.once('exit', () => {
  for (const path of left) rmSync(path, { recursive: true, force: true, maxRetries: 3 });
});

/** An empty folder of its own, removed with everything in it on dispose, or when this process ends. */
export async function scratchDir(prefix = 'test-'): Promise<ScratchDir> {
  const path = await mkdtemp(join(tmpdir(), `etcd-snapshot-${prefix}`));
  left.add(path);
  return {
    path,
    async [Symbol.asyncDispose]() {
      await rm(path, { recursive: true, force: true, maxRetries: 3 });
      left.delete(path);
    },
  };
}
