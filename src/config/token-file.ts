import { readFile } from 'node:fs/promises';
import { SnapshotError, systemCode } from '../errors.ts';
import { tokenHash } from './token.ts';

/** Undefined where the distribution has no server token, or this node has none yet. @throws SnapshotError */
export async function readTokenHash(
  path: string | undefined,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (path === undefined) return undefined;
  let token: string;
  try {
    token = await readFile(path, { encoding: 'utf8', signal });
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw new SnapshotError('io', `Cannot read the server token ${path}`, {
      cause: error,
      hint: 'The snapshot has no token hash; run as a user who may read the token.',
    });
  }
  return tokenHash(token);
}
