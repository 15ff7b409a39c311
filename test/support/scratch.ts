import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface ScratchDir extends AsyncDisposable {
  readonly path: string;
}

/** An empty folder of its own, removed with everything in it on dispose. */
export async function scratchDir(prefix = 'test-'): Promise<ScratchDir> {
  const path = await mkdtemp(join(tmpdir(), `etcd-snapshot-${prefix}`));
  return {
    path,
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true, maxRetries: 3 }),
  };
}
