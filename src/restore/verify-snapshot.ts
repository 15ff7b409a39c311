import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { SnapshotError } from '../errors.ts';
import { type DatabaseFacts, readDatabase } from './database.ts';
import { countKinds } from './kinds.ts';
import type { EtcdTools } from './ports.ts';
import { sideBySide } from './side-by-side.ts';
import {
  assertSame,
  assertSpace,
  findSnapshotFile,
  proveSnapshotFile,
  type SnapshotFile,
} from './snapshot-file.ts';
import { isNewer, writtenBy } from './versions.ts';

/** The log of a fresh etcd: two segments of 64 MB are allocated at once, and one is written by etcdutl. */
export const LOG_BYTES = 200_000_000;
const MEMBER = 'verify';
const PEER_URL = 'http://localhost:2380';
const EVERYTHING = ['\0', '\0'] as const;

/** What was found in a snapshot that is whole. */
export interface VerifiedSnapshot {
  /** The file that was read, without symbolic links. */
  readonly path: string;
  /** Bytes on disk, and of the plain snapshot. */
  readonly size: number;
  readonly plainSize: number;
  readonly compressed: boolean;
  readonly sha256: string;
  readonly revision: number;
  /** Keys that exist; `records` counts each of their revisions that was not compacted. */
  readonly keys: number;
  readonly records: number;
  /** What `etcdctl endpoint hashkv` gives for that revision. */
  readonly hashKV: number;
  readonly members: readonly { readonly name: string; readonly peerUrls: readonly string[] }[];
  /** Version of the cluster that it was taken of. */
  readonly etcdVersion: string | undefined;
  /** Versions of the programs that opened it. */
  readonly openedBy: { readonly etcdutl: string; readonly etcd: string };
  /** UID of kube-system. */
  readonly clusterId: string | undefined;
  /** Objects of Kubernetes by resource, the most frequent first. */
  readonly kinds: ReadonlyMap<string, number>;
}

/**
 * Proves that a snapshot can be restored by doing it: in a folder of its own inside `tempDir`, which is gone at the end.
 * @throws SnapshotError what is wrong with it
 */
export async function verifySnapshot(
  path: string,
  parts: { readonly tools: EtcdTools; readonly tempDir: string },
  signal: AbortSignal,
): Promise<VerifiedSnapshot> {
  const file = await findSnapshotFile(path);
  const { compressed, plainSize } = file;
  const needed = plainSize * (compressed ? 2 : 1) + LOG_BYTES;
  const cure = 'Free some space, or name a folder on another disk with --temp-dir.';
  await assertSpace(parts.tempDir, needed, 'a throw-away restore', cure);
  const etcdutl = await parts.tools.version(signal);
  const folder = await mkdtemp(join(parts.tempDir, 'etcd-snapshot-verify-'));
  try {
    return await restoreAndLook({ file, folder, etcdutl, tools: parts.tools }, signal);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface Trial {
  readonly file: SnapshotFile;
  readonly folder: string;
  readonly etcdutl: string;
  readonly tools: EtcdTools;
}

async function restoreAndLook(
  { file, folder, etcdutl, tools }: Trial,
  signal: AbortSignal,
): Promise<VerifiedSnapshot> {
  const dataDir = join(folder, 'data');
  const runDir = join(folder, 'run');
  await mkdir(runDir, { mode: 0o700 });
  const plain = file.compressed ? join(folder, 'snapshot') : file.path;
  const wanted = { snapshot: plain, dataDir, member: MEMBER, peerUrl: PEER_URL, bumpRevision: 0 };
  const unpacked = file.compressed ? await proveSnapshotFile(file, plain, signal) : undefined;
  const { sha256, facts } = await sideBySide(
    async (inner) => {
      const hash = unpacked ?? (await proveSnapshotFile(file, undefined, inner));
      await assertSame(file);
      return { sha256: hash, facts: await readDatabase(plain, inner) };
    },
    (inner) => tools.restore({ ...wanted, hashIsProven: unpacked === undefined }, inner),
    signal,
  );
  assertNotNewer(file.path, facts, etcdutl);
  await using etcd = await tools.start(
    { dataDir, runDir, member: MEMBER, peerUrl: PEER_URL, quota: file.plainSize * 2 + 2 ** 30 },
    signal,
  );
  const { hash, revision } = await etcd.hashKV(signal);
  return {
    path: file.path,
    size: file.size,
    plainSize: file.plainSize,
    compressed: file.compressed,
    sha256,
    revision,
    keys: await etcd.count(...EVERYTHING, signal),
    records: facts.records,
    hashKV: hash,
    members: facts.members.map(({ name, peerUrls }) => ({ name, peerUrls })),
    etcdVersion: facts.clusterVersion,
    openedBy: { etcdutl, etcd: etcd.version },
    clusterId: facts.clusterId,
    kinds: await countKinds(etcd, signal),
  };
}

/** An older etcd may open newer data all the same, and would not understand all of them. */
function assertNotNewer(path: string, facts: DatabaseFacts, etcdutl: string): void {
  const written = writtenBy(facts);
  if (written === undefined || !isNewer(written, etcdutl)) return;
  throw new SnapshotError('protocol', `${path} cannot be verified with these programs`, {
    why: `it is of etcd ${written}, and etcdutl is ${etcdutl}`,
    hint: 'Name a folder with etcdutl and etcd of that version or newer with --etcd-tools.',
  });
}
