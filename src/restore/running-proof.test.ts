import { appendFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { scratchDir } from '../../test/support/scratch.ts';
import { SnapshotError } from '../errors.ts';
import type { EtcdTools, RestoreWanted } from './ports.ts';
import { type RunningProof, toolsBeside } from './running-proof.ts';

const never = new AbortController().signal;
const wanted = { snapshot: '', dataDir: '', member: 'm0', peerUrl: '', bumpRevision: 0 };

function unused(): never {
  throw new Error('nobody asks for that here');
}

/** Only etcdutl does something: what it is given. */
function etcdutl(restore: (wanted: RestoreWanted, signal: AbortSignal) => Promise<void>): EtcdTools {
  return {
    version: unused,
    etcdVersion: unused,
    canBump: unused,
    isMember: unused,
    start: unused,
    forgetPeers: unused,
    restore,
  };
}

async function snapshotIn(folder: string) {
  const path = join(folder, 'snapshot');
  await writeFile(path, 'bytes');
  const stats = await stat(path);
  return { path, size: stats.size, compressed: false, plainSize: stats.size, stats };
}

function proofOf(ended: Promise<void>): RunningProof {
  return { whole: () => ended, failure: undefined };
}

const broken = new SnapshotError('corrupt', 'no whole snapshot');

it('data are not taken as made before the hash is proven', async () => {
  await using scratch = await scratchDir();
  const proof = Promise.withResolvers<void>();
  const tools = toolsBeside(
    etcdutl(async () => undefined),
    { file: await snapshotIn(scratch.path), proof: proofOf(proof.promise) },
  );
  const made = tools.restore(wanted, never);
  const first = await Promise.race([made.then(() => 'made'), stat(scratch.path).then(() => 'still proving')]);
  expect(first).toBe('still proving');
  proof.resolve();
  await expect(made).resolves.toBeUndefined();
});

it('what is wrong with the hash is told, and stops etcdutl, whatever that one says then', async () => {
  await using scratch = await scratchDir();
  const stopped = Promise.withResolvers<void>();
  const tools = toolsBeside(
    etcdutl(async (_wanted, signal) => {
      signal.addEventListener('abort', () => stopped.reject(new Error('killed')), { once: true });
      return stopped.promise;
    }),
    { file: await snapshotIn(scratch.path), proof: proofOf(Promise.reject(broken)) },
  );
  await expect(tools.restore(wanted, never)).rejects.toBe(broken);
});

it('a snapshot that somebody writes to after its proof is refused', async () => {
  await using scratch = await scratchDir();
  const file = await snapshotIn(scratch.path);
  const tools = toolsBeside(
    etcdutl(async () => appendFile(file.path, 'more')),
    { file, proof: proofOf(Promise.resolve()) },
  );
  await expect(tools.restore(wanted, never)).rejects.toMatchObject({ code: 'conflict' });
});
