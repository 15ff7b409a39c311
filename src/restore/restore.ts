import { abortError, SnapshotError } from '../errors.ts';
import { applySteps, snapshotOf, type Workshop } from './apply.ts';
import { type Journal, type Step, steps, writeJournal } from './journal.ts';
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
 * @throws SnapshotError; the journal then says where it stopped, and is not written when the signal had come before
 */
export async function carryOut(
  journal: Journal,
  workshop: Workshop,
  onStep: OnStep,
  signal: AbortSignal,
): Promise<Journal> {
  const path = await journalPath(journal.places.dataDir);
  if (signal.aborted) throw abortError(signal);
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

/** @throws SnapshotError `conflict` when the journal is of a restore of something else */
export function assertSameRestore(unfinished: Journal, wanted: Journal): void {
  const same =
    unfinished.purpose === wanted.purpose &&
    (unfinished.purpose !== 'restore' ||
      (snapshotOf(unfinished).sha256 === wanted.snapshot?.sha256 &&
        unfinished.bumpWanted === wanted.bumpWanted));
  if (same) return;
  throw new SnapshotError('conflict', `Another restore of ${unfinished.places.dataDir} is not finished`, {
    why: `that of ${unfinished.snapshot?.path ?? 'a rejoin'} stopped in the step ${unfinished.step}`,
    hint: 'Run it again to go on, or put the old data back with "etcd-snapshot restore --rollback".',
  });
}
