import { rm } from 'node:fs/promises';
import { abortError, SnapshotError } from '../errors.ts';
import { applySteps, certificateCopies, resetFlag, snapshotOf, type Workshop } from './apply.ts';
import { exists, moveTo } from './files.ts';
import { type Journal, removeJournal, type Step, steps, writeJournal } from './journal.ts';
import { startPods } from './manifests.ts';
import { journalPath } from './places.ts';

/** Told before a step begins. What it throws stops the restore there. */
export type OnStep = (step: Step) => void | Promise<void>;

/** Which steps a journal has before it, in order. */
export function stepsLeft(journal: Journal): Step[] {
  const mine = steps.filter(
    (step) => journal.purpose !== 'rejoin' || ['stop', 'set-aside', 'start', 'finish'].includes(step),
  );
  return journal.step === undefined ? mine : mine.slice(mine.indexOf(journal.step));
}

/**
 * Does what the journal says, from the step on that it stopped in. Each step is noted before it begins.
 * @throws SnapshotError; the journal then says where it stopped
 */
export async function carryOut(
  journal: Journal,
  workshop: Workshop,
  onStep: OnStep,
  signal: AbortSignal,
): Promise<Journal> {
  const path = await journalPath(journal.places.dataDir);
  let now = journal;
  for (const step of stepsLeft(journal)) {
    now = { ...journal, step };
    await writeJournal(path, now);
    if (signal.aborted) throw abortError(signal);
    await onStep(step);
    await applySteps[step](now, workshop, signal);
  }
  const done = { ...journal, step: undefined };
  await writeJournal(path, done);
  return done;
}

/** What a rollback did, in words. */
export interface RolledBack {
  readonly moves: readonly string[];
}

/**
 * Puts the old data back, and the certificates, whatever step the restore was in. What the restore made is put aside, not
 * deleted, but for what lies in its work folder.
 */
export async function rollBack(journal: Journal): Promise<RolledBack> {
  const { places, began, hadData } = journal;
  const moves: string[] = [];
  const move = async (from: string, to: string) => {
    await moveTo(from, to);
    moves.push(`${from} is ${to} now`);
  };
  if (places.mounted) {
    throw new SnapshotError('usage', `${places.dataDir} is a mount point, where going back is done by hand`, {
      why: `the old data are in ${places.oldDir}`,
      hint: `Stop etcd; move ${places.dataDir}/member away, and ${places.oldDir}/member in its place.`,
    });
  }
  const oldIsAside = await exists(places.oldDir);
  const madeIsInPlace = (oldIsAside || !hadData) && (await exists(places.dataDir));
  if (madeIsInPlace) await move(places.dataDir, places.oldDir.replace(/-old-(\d+)$/, '-undone-$1'));
  if (oldIsAside) await move(places.oldDir, places.dataDir);
  for (const { from, to } of certificateCopies(journal)) {
    await rm(`${to}.unfinished`, { recursive: true, force: true });
    if (!(await exists(to))) continue;
    if (await exists(from)) await move(from, `${from}-undone-${began}`);
    await move(to, from);
  }
  if (places.serverDir !== undefined) await rm(resetFlag(places.serverDir), { force: true });
  await rm(places.workDir, { recursive: true, force: true });
  await startPods(journal);
  await removeJournal(await journalPath(places.dataDir));
  return { moves };
}

/** @throws SnapshotError `conflict` when the journal is of a restore of something else */
export function assertSameRestore(unfinished: Journal, wanted: Journal): void {
  const same =
    unfinished.purpose === wanted.purpose &&
    (unfinished.purpose !== 'restore' ||
      (snapshotOf(unfinished).sha256 === wanted.snapshot?.sha256 &&
        unfinished.bumpRevision === wanted.bumpRevision));
  if (same) return;
  throw new SnapshotError('conflict', `Another restore of ${unfinished.places.dataDir} is not finished`, {
    why: `that of ${unfinished.snapshot?.path ?? 'a rejoin'} stopped in the step ${unfinished.step}`,
    hint: 'Run it again to go on, or put the old data back with "etcd-snapshot restore --rollback".',
  });
}
