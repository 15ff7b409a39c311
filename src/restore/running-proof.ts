import { open, rm } from 'node:fs/promises';
import type { RestoreOrder } from '../config/restore-settings.ts';
import { asError } from '../errors.ts';
import { HASH_BYTES } from '../snapshot/integrity.ts';
import { type DatabaseFacts, readDatabase } from './database.ts';
import { type Journal, removeJournal, writeJournal } from './journal.ts';
import { journalPath } from './places.ts';
import type { EtcdTools } from './ports.ts';
import { sideBySide } from './side-by-side.ts';
import { assertSame, proveSnapshotFile, type SnapshotFile } from './snapshot-file.ts';

/** The proof of a snapshot's hash, which may go on while etcdutl is at work; see ADR 107. */
export interface RunningProof {
  /** Begins with the first call, and is done once. Rejects with what is wrong with the snapshot. */
  whole(): Promise<void>;
  /** Once it has ended: why the snapshot is none, and undefined when it is whole. */
  readonly failure: Error | undefined;
}

interface ReadSnapshot {
  readonly file: SnapshotFile;
  /** What etcd wrote behind the database; the proof compares it. */
  readonly sha256: string;
  readonly database: DatabaseFacts;
  readonly proof: RunningProof;
}

/**
 * Tells what a plain snapshot holds before its hash is proven, which takes much longer.
 * @throws SnapshotError as `readDatabase`; but what the hash tells comes first
 */
export async function readBeforeProof(file: SnapshotFile, signal: AbortSignal): Promise<ReadSnapshot> {
  const proof = proofOf(file, signal);
  try {
    const sha256 = await hashBehind(file);
    return { file, sha256, database: await readDatabase(file.path, signal), proof };
  } catch (error) {
    await proof.whole();
    throw error;
  }
}

/** Whether the new data may be made while the proof goes on: only when nobody is asked, and nothing was begun before. */
export function mayGoOn(order: RestoreOrder, resuming: Journal | undefined): boolean {
  return order.yes && !order.dryRun && !order.printCommands && resuming === undefined;
}

/** The same programs, but the data folder that etcdutl makes is only done when the proof is. */
export function toolsBeside(
  tools: EtcdTools,
  found: { readonly file: SnapshotFile; readonly proof?: RunningProof } | undefined,
): EtcdTools {
  if (found?.proof === undefined) return tools;
  const { file, proof } = found;
  return {
    ...tools,
    async restore(wanted, signal) {
      await sideBySide(
        () => proof.whole(),
        (inner) => tools.restore(wanted, inner),
        signal,
      );
      await assertSame(file);
    },
  };
}

/**
 * Leaves everything as if the restore had not begun, when it turns out that its snapshot is none: nothing was moved yet.
 * @param before what the journal said before
 */
export async function withdraw({ places }: Journal, before: Journal | undefined): Promise<void> {
  await rm(places.workDir, { recursive: true, force: true });
  const path = await journalPath(places.dataDir);
  await (before === undefined ? removeJournal(path) : writeJournal(path, before));
}

function proofOf(file: SnapshotFile, signal: AbortSignal): RunningProof {
  let failure: Error | undefined;
  let running: Promise<unknown> | undefined;
  return {
    async whole() {
      running ??= proveSnapshotFile(file, undefined, signal).catch((error: unknown) => {
        failure = asError(error);
      });
      await running;
      if (failure !== undefined) throw failure;
    },
    get failure() {
      return failure;
    },
  };
}

async function hashBehind({ path, size }: SnapshotFile): Promise<string> {
  await using file = await open(path, 'r');
  const { buffer } = await file.read(Buffer.alloc(HASH_BYTES), 0, HASH_BYTES, size - HASH_BYTES);
  return buffer.toString('hex');
}
