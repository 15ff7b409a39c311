import { rm } from 'node:fs/promises';
import type { RestoreOrder } from '../config/restore-settings.ts';
import { asError, isSnapshotError, SnapshotError } from '../errors.ts';
import type { Workshop } from './apply.ts';
import { type Journal, readJournal } from './journal.ts';
import type { Obstacle } from './order.ts';
import { journalPath } from './places.ts';
import type { EtcdTools } from './ports.ts';
import { preflight, whatRuns } from './preflight.ts';
import { assertSameRestore, carryOut, type OnStep, rollBack } from './restore.ts';
import { decryptedBy } from './token-check.ts';
import { checkList, nextText, planText, rollbackCommand } from './words.ts';

/** Told what happens, and asked. */
export interface RestoreDialogue {
  /** The plan, before anything is changed. */
  readonly onPlan: (text: string) => void;
  /** Whether it may begin. @throws SnapshotError `usage` when nobody can be asked */
  readonly confirm: () => Promise<boolean>;
  readonly onStep: OnStep;
}
export interface RestoreParts {
  readonly order: RestoreOrder;
  /** Path of the snapshot; undefined unless one is restored. */
  readonly snapshot: string | undefined;
  readonly tools: EtcdTools;
  readonly now: () => Date;
}

/** See `Recovery.restore`. */
export async function runRestore(
  parts: RestoreParts,
  dialogue: RestoreDialogue,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { order } = parts;
  const began = parts.now().getTime();
  const before = await readJournal(await journalPath(order.dataDir));
  if (order.purpose === 'rollback') return undo(order, before, dialogue);
  const found = await preflight(
    order,
    { purpose: order.purpose, snapshot: parts.snapshot },
    { ...parts, now: new Date(began) },
    signal,
  );
  const fresh = found.journal;
  let begun = false;
  try {
    if (found.obstacles.length > 0 || fresh === undefined) throw refusal(order, found.obstacles);
    const journal = before?.step === undefined ? fresh : before;
    if (before?.step !== undefined) assertSameRestore(before, fresh);
    const going =
      before?.step === undefined ? '' : `Going on in the step ${before.step}, where it stopped.\n`;
    dialogue.onPlan(`${going}${planText(order, found, journal)}`);
    if (order.dryRun || !(order.yes || (await dialogue.confirm()))) return undefined;
    begun = journal === fresh;
    await carryOut(journal, workshopOf(parts), dialogue.onStep, signal).catch((error: unknown) => {
      throw stopped(order, asError(error));
    });
    const seconds = (parts.now().getTime() - began) / 1000;
    return `${checkList(order, journal, found, seconds)}\n${nextText(order, found, journal)}`;
  } finally {
    // A zip was unpacked there for the look.
    if (!begun && found.workDir !== before?.places.workDir)
      await rm(found.workDir, { recursive: true, force: true });
  }
}

function workshopOf({ order, tools }: RestoreParts): Workshop {
  return {
    tools,
    bootstrap: order.serverDir === undefined ? undefined : (database) => decryptedBy(order, database),
  };
}

async function undo(
  order: RestoreOrder,
  journal: Journal | undefined,
  dialogue: RestoreDialogue,
): Promise<string | undefined> {
  if (journal === undefined) {
    throw new SnapshotError('not-found', `There is no restore of ${order.dataDir} that could be undone`, {
      why: `${await journalPath(order.dataDir)} does not exist`,
      hint: 'See the folders beside it: old data are in those whose name ends in -old-<unix time>.',
    });
  }
  const running = await whatRuns(order);
  if (running.length > 0) throw refusal(order, running);
  const { oldDir } = journal.places;
  dialogue.onPlan(
    `Rollback: what is in ${order.dataDir} is put aside, and ${journal.hadData ? oldDir : 'nothing'} takes its place.\n`,
  );
  if (order.dryRun || !(order.yes || (await dialogue.confirm()))) return undefined;
  const { moves } = await rollBack(journal);
  return `Rolled back:\n${moves.map((line) => `  ${line}\n`).join('')}`;
}

/** All that stands in the way at once, so that nobody has to find it one by one. */
function refusal(order: RestoreOrder, obstacles: readonly Obstacle[]): SnapshotError {
  const [first] = obstacles;
  const what = `${order.dataDir} is not touched`;
  if (obstacles.length === 1 && first !== undefined) {
    return new SnapshotError('conflict', what, { why: first.what, hint: `${first.cure}.` });
  }
  const list = obstacles.map((one) => `\n  - ${one.what}: ${one.cure}`).join('');
  return new SnapshotError('conflict', `${what}: ${obstacles.length} things stand in the way`, {
    why: list,
    hint: 'Deal with them, and run the same command again.',
  });
}

function stopped(order: RestoreOrder, error: Error): SnapshotError {
  const known = isSnapshotError(error) ? error : undefined;
  return new SnapshotError(known?.code ?? 'io', `The restore stopped: ${error.message}`, {
    ...(known?.why === undefined ? {} : { why: known.why }),
    hint: `${known?.hint ?? ''} The same command goes on where it stopped; ${rollbackCommand(order)} puts everything back.`.trim(),
    cause: error,
  });
}
