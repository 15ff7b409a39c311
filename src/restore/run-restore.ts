import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { RestoreOrder } from '../config/restore-settings.ts';
import { asError, isSnapshotError, SnapshotError } from '../errors.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import type { Workshop } from './apply.ts';
import { commandsText } from './commands.ts';
import { readDatabase } from './database.ts';
import { realFolder } from './files.ts';
import { type Journal, readJournal } from './journal.ts';
import { stopPods, stopsByItself, withManifest } from './manifests.ts';
import type { Obstacle } from './order.ts';
import { journalPath } from './places.ts';
import type { EtcdTools } from './ports.ts';
import { obstacleOf, type Preflight, preflight, whatRuns } from './preflight.ts';
import { assertSameRestore, carryOut, type OnStep, rollBack } from './restore.ts';
import { toolsBeside, withdraw } from './running-proof.ts';
import { decryptedBy, metadataObstacle } from './token-check.ts';
import { checkList, nextText, planText, rollbackCommand } from './words.ts';

/** Told what happens, and asked. */
export interface RestoreDialogue {
  /** The plan, before anything is changed. */
  readonly onPlan: (text: string) => void;
  /** Whether it may begin. @throws SnapshotError `usage` when nobody can be asked */
  readonly confirm: () => Promise<boolean>;
  readonly onStep: OnStep;
}
/** A snapshot that is on S3. */
export interface SnapshotFetch {
  readonly url: string;
  lookUp(signal: AbortSignal): Promise<Snapshot>;
  /** Goes on where an earlier try ended, and fetches nothing that is here already. */
  download(signal: AbortSignal): Promise<string>;
}

export interface RestoreParts {
  readonly order: RestoreOrder;
  /** Path of the snapshot; undefined unless one is restored. */
  readonly snapshot: string | undefined;
  /** How it comes to that path from S3; undefined for one that is on this node. */
  readonly fetch: SnapshotFetch | undefined;
  readonly tools: EtcdTools;
  readonly now: () => Date;
}

/** See `Recovery.restore`. */
export async function runRestore(
  parts: RestoreParts,
  dialogue: RestoreDialogue,
  signal: AbortSignal,
): Promise<string | undefined> {
  const said = await withManifest(parts.order);
  const order = { ...said, dataDir: await realFolder(said.dataDir) };
  const began = parts.now().getTime();
  const before = await readJournal(await journalPath(order.dataDir));
  if (order.purpose === 'rollback') return undo(order, before, dialogue, signal);
  if (parts.fetch !== undefined && !(await fetched({ ...parts, order }, parts.fetch, dialogue, signal)))
    return undefined;
  const resuming = before?.step === undefined ? undefined : before;
  const found =
    resuming?.purpose === 'reset' && order.purpose === 'reset'
      ? await goingOn(order, resuming)
      : await preflight(
          order,
          { purpose: order.purpose, snapshot: parts.snapshot, resuming },
          { ...parts, now: new Date(began) },
          signal,
        );
  const fresh = found.journal;
  let begun = false;
  try {
    if (found.obstacles.length > 0 || fresh === undefined) throw refusal(order, found.obstacles);
    const journal = resuming ?? fresh;
    if (resuming !== undefined) assertSameRestore(resuming, fresh);
    const going = resuming === undefined ? '' : `Going on in the step ${resuming.step}, where it stopped.\n`;
    dialogue.onPlan(`${going}${planText(order, found, journal)}`);
    if (order.printCommands) return commandsText(order, found, journal);
    if (order.dryRun || !(order.yes || (await dialogue.confirm()))) return undefined;
    begun = true;
    const tools = toolsBeside(parts.tools, found.snapshot);
    await carryOut(journal, workshopOf({ ...parts, order, tools }), dialogue.onStep, signal).catch(
      async (error: unknown) => {
        const broken = found.snapshot?.proof?.failure;
        if (broken === undefined || signal.aborted) throw stopped(order, asError(error));
        await withdraw(journal, before);
        throw refusal(order, [obstacleOf(broken)]);
      },
    );
    // Which of the members has been left is known only now, when all data were kept.
    const made = await remaining(journal, signal);
    const seconds = (parts.now().getTime() - began) / 1000;
    return `${checkList(order, journal, found, seconds)}\n${nextText(order, found, journal, made)}`;
  } finally {
    // A zip was unpacked there for the look.
    if (!begun && resuming === undefined) await rm(found.workDir, { recursive: true, force: true });
  }
}

/**
 * Brings the snapshot from S3, after everything else that could stand in the way was looked at: a long download is no use
 * to somebody whose etcd still runs. False for a mere look, which fetches nothing.
 */
async function fetched(
  parts: RestoreParts,
  fetch: SnapshotFetch,
  dialogue: RestoreDialogue,
  signal: AbortSignal,
): Promise<boolean> {
  const { order, snapshot: path } = parts;
  const found = await fetch.lookUp(signal);
  const looked = { tools: parts.tools, now: parts.now() };
  const { obstacles } = await preflight(
    order,
    { purpose: 'restore', snapshot: undefined, resuming: undefined },
    looked,
    signal,
  );
  const all = [...obstacles, ...(await metadataObstacle(order, found.tokenHash))];
  if (all.length > 0) throw refusal(order, all);
  if (!order.dryRun) {
    await fetch.download(signal);
    return true;
  }
  dialogue.onPlan(
    `Snapshot: ${fetch.url}, ${found.size} bytes\nIt would be downloaded to ${path}, and proven there before anything is moved.\nNothing stands in the way so far; what is in it is known when it is here.\n`,
  );
  return false;
}

/** Addresses of the one member that there is now. */
async function remaining({ places, purpose }: Journal, signal: AbortSignal): Promise<readonly string[]> {
  if (purpose !== 'reset') return [];
  const { members } = await readDatabase(join(places.dataDir, 'member/snap/db'), signal);
  return members.flatMap(({ peerUrls }) => peerUrls);
}

/** What a reset worked on may have been moved already; that it was sound was seen when it began. */
async function goingOn(order: RestoreOrder, journal: Journal): Promise<Preflight> {
  const { workDir } = journal.places;
  const obstacles = await whatRuns(order);
  const space = { needed: 0, free: 0 };
  return { obstacles, notes: [], snapshot: undefined, journal, workDir, files: [], space };
}

function workshopOf({ order, tools }: RestoreParts): Workshop {
  return {
    tools,
    running: () => whatRuns(order),
    bootstrap: order.serverDir === undefined ? undefined : (database) => decryptedBy(order, database),
  };
}

async function undo(
  order: RestoreOrder,
  journal: Journal | undefined,
  dialogue: RestoreDialogue,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (journal === undefined) {
    throw new SnapshotError('not-found', `There is no restore of ${order.dataDir} that could be undone`, {
      why: `${await journalPath(order.dataDir)} does not exist`,
      hint: 'See the folders beside it: old data are in those whose name ends in -old-<unix time>.',
    });
  }
  const stops = await stopsByItself(order);
  const running = stops ? [] : await whatRuns(order);
  if (running.length > 0) throw refusal(order, running);
  const { oldDir } = journal.places;
  dialogue.onPlan(
    `Rollback: what is in ${order.dataDir} is put aside, and ${journal.hadData ? oldDir : 'nothing'} takes its place.\n`,
  );
  if (order.dryRun || !(order.yes || (await dialogue.confirm()))) return undefined;
  if (stops) await stopPods(journal, () => whatRuns(order), signal);
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
