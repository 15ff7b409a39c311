import { join } from 'node:path';
import { expect, it } from 'vitest';
import { scratchDir } from '../../test/support/scratch.ts';
import { lockFolder } from './folder-lock.ts';

it('what cannot be locked is called a folder: a restore locks others than that of the snapshots', async () => {
  await using scratch = await scratchDir();
  const gone = join(scratch.path, 'server');
  await expect(lockFolder(gone, new AbortController().signal)).rejects.toMatchObject({
    code: 'not-found',
    message: `Cannot lock the folder ${gone}`,
  });
});
