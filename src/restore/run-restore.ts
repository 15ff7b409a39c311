import { access, constants, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { RestoreOrder } from '../config/restore-settings.ts';
import { abortError, asError, isSnapshotError, SnapshotError } from '../errors.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import type { Workshop } from './apply.ts';
import { commandsText } from './commands.ts';
import { type DatabaseMember, readDatabase } from './database.ts';
import { etcdctlOf, withManifest } from './etcd-manifest.ts';
import { exists, realFolder } from './files.ts';
import { isBehind, type Journal } from './journal.ts';
import { readJournal } from './journal-check.ts';
import { canDoWithout, isOf } from './made-data.ts';
import { journalPath, sweepLooks } from './places.ts';
import type { EtcdTools } from './ports.ts';
import { obstacleOf, type Preflight, preflight, stopsByItself, type Wanted } from './preflight.ts';
import { assertNothingElseSaid, refusal, stopped, untouched } from './refusal.ts';
import { readOldData } from './reset.ts';
import { assertSameRestore, carryOut, type OnStep } from './restore.ts';
import { assertNotGoingBack } from './rollback.ts';
import { toolsBeside, withdraw } from './running-proof.ts';
import { checkToken, decryptedBy, metadataObstacle } from './token-check.ts';
import { undo } from './undo.ts';
import { watchful } from './watch.ts';
import { type ActiveServices, whatRuns } from './what-runs.ts';
import { checkList, nextText, planText } from './words.ts';

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
  readonly active: ActiveServices;
  /** Takes a folder for this process. @throws SnapshotError `busy` when another one has it */
  readonly lock: (folder: string, signal: AbortSignal) => Promise<AsyncDisposable>;
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
  const path = await journalPath(order.dataDir);
  await using lock = await locked(order, order.serverDir ?? dirname(path), parts.lock, signal);
  const before = await readJournal(path);
  if (lock !== undefined) await sweepLooks(order.dataDir, before?.places.workDir);
  const { purpose } = order;
  if (purpose === 'rollback') return undo({ ...parts, order }, before, dialogue, signal);
  assertNotGoingBack(before);
  const unfinished = before?.step === undefined ? undefined : before;
  if (unfinished === undefined || (await isOther(unfinished, parts))) {
    const all = { ...parts, order };
    const done = unfinished === undefined ? before : await endIt(unfinished, all, dialogue, signal);
    return goOn(all, { purpose, resuming: undefined, before: done }, dialogue, signal);
  }
  const resuming = unfinished;
  assertNothingElseSaid(parts.order, resuming);
  const bumpRevision = order.bumpGiven ? order.bumpRevision : resuming.bumpWanted;
  return goOn(
    { ...parts, order: { ...order, bumpRevision } },
    { purpose, resuming, before },
    dialogue,
    signal,
  );
}

/** Whether something else is wanted than a restore of which only the end is left, where nothing can be lost any more. */
async function isOther(unfinished: Journal, { order, snapshot }: RestoreParts): Promise<boolean> {
  if (!isBehind(unfinished, 'certificates')) return false;
  if (unfinished.purpose !== order.purpose) return true;
  return order.purpose === 'restore' && !(await isOf(unfinished, snapshot));
}

/** Whatever has become of its snapshot and its old data. A mere look changes nothing. */
async function endIt(
  unfinished: Journal,
  parts: RestoreParts,
  dialogue: RestoreDialogue,
  signal: AbortSignal,
): Promise<Journal> {
  const { order } = parts;
  const { places, step } = unfinished;
  const line = `The restore of ${places.dataDir} that stopped in the step ${step} is brought to its end first.\n`;
  dialogue.onPlan(order.printCommands ? commented(line) : line);
  if (order.dryRun || order.printCommands) return unfinished;
  return carryOut(unfinished, workshopOf(parts), dialogue.onStep, signal).catch((error: unknown) => {
    throw stopped(order, asError(error));
  });
}

async function goOn(
  parts: RestoreParts,
  {
    purpose,
    resuming,
    before,
  }: Pick<Wanted, 'purpose' | 'resuming'> & { readonly before: Journal | undefined },
  dialogue: RestoreDialogue,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { order } = parts;
  const began = parts.now().getTime();
  const isHere = resuming !== undefined && (await hasSnapshot(resuming, parts.snapshot));
  if (
    parts.fetch !== undefined &&
    !isHere &&
    !(await fetched(parts, parts.fetch, resuming, dialogue, signal))
  ) {
    return undefined;
  }
  const looked =
    resuming?.purpose === 'reset' && purpose === 'reset'
      ? await goingOn(parts, resuming, signal)
      : await preflight(
          order,
          { purpose, snapshot: parts.snapshot, resuming },
          { ...parts, now: new Date(began) },
          signal,
        );
  const found = resuming !== undefined && isBehind(resuming, 'certificates') ? hurtingNobody(looked) : looked;
  const fresh = found.journal ?? (found === looked ? undefined : resuming);
  let begun = false;
  try {
    if (found.obstacles.length > 0 || fresh === undefined) {
      throw refusal(untouched(order, resuming), found.obstacles);
    }
    const journal = resuming ?? fresh;
    if (resuming !== undefined) assertSameRestore(resuming, fresh);
    const going = resuming === undefined ? '' : `Going on in the step ${resuming.step}, where it stopped.\n`;
    if (resuming !== undefined && order.printCommands) throw notByHand(resuming);
    const plan = `${going}${planText(order, found, journal)}`;
    dialogue.onPlan(order.printCommands ? commented(plan) : plan);
    if (order.printCommands) return commandsText(order, found, journal);
    if (order.dryRun || !(order.yes || (await dialogue.confirm()))) return undefined;
    if (signal.aborted) throw abortError(signal);
    begun = true;
    const onStep = watchful(journal, parts, dialogue.onStep, signal);
    const tools = toolsBeside(parts.tools, found.snapshot);
    await carryOut(journal, workshopOf({ ...parts, tools }), onStep, signal).catch(async (error: unknown) => {
      const broken = found.snapshot?.proof?.failure;
      if (broken === undefined || signal.aborted) throw stopped(order, asError(error));
      await withdraw(journal, before);
      throw refusal(untouched(order, undefined), [obstacleOf(broken)]);
    });
    // Which of the members has been left is known only now, when all data were kept.
    const made = await remaining(journal, signal);
    const seconds = (parts.now().getTime() - began) / 1000;
    const next = nextText(order, found, journal, { self: made, etcdctl: await etcdctlOf(order) });
    return `${checkList(order, journal, found, seconds)}\n${next}`;
  } finally {
    // A zip was unpacked there for the look.
    if (!begun && resuming === undefined) await rm(found.workDir, { recursive: true, force: true });
  }
}

/**
 * Keeps a second restore of the same data away. Where the folder cannot be written to there is nothing to keep away: the look
 * says why nothing can be done there.
 */
async function locked(
  { dataDir }: RestoreOrder,
  folder: string,
  lock: RestoreParts['lock'],
  signal: AbortSignal,
): Promise<AsyncDisposable | undefined> {
  const writable = await access(folder, constants.W_OK).then(
    () => true,
    () => false,
  );
  if (!writable) return undefined;
  return lock(folder, signal).catch((error: unknown) => {
    if (!isSnapshotError(error, 'busy')) throw error;
    throw new SnapshotError('busy', `Another etcd-snapshot is at work on ${dataDir}, or beside it`, {
      ...(error.why === undefined ? {} : { why: error.why }),
      hint: 'Wait until it has ended, and run the same command again.',
      cause: error,
    });
  });
}

function notByHand({ places, step }: Journal): SnapshotError {
  return new SnapshotError(
    'usage',
    `The restore of ${places.dataDir} has begun, and cannot be ended by hand`,
    {
      why: `it stopped in the step ${step}, and commands would begin it anew`,
      hint: 'Go on without --print-commands, or put the old data back with "etcd-snapshot restore --rollback" first.',
    },
  );
}

/** As lines that a shell passes over. */
function commented(text: string): string {
  return text.trimEnd().replaceAll(/^/gm, '# ');
}

/**
 * Brings the snapshot from S3, after everything else that could stand in the way was looked at: a long download is no use
 * to somebody whose etcd still runs. False for a mere look, which fetches nothing.
 */
async function fetched(
  parts: RestoreParts,
  fetch: SnapshotFetch,
  resuming: Journal | undefined,
  dialogue: RestoreDialogue,
  signal: AbortSignal,
): Promise<boolean> {
  const { order, snapshot: path } = parts;
  const found = await fetch.lookUp(signal);
  const looked = { ...parts, now: parts.now() };
  const { obstacles } = await preflight(
    order,
    { purpose: 'restore', snapshot: undefined, resuming },
    looked,
    signal,
  );
  const all = [...obstacles, ...(await metadataObstacle(order, found.tokenHash))];
  if (all.length > 0) throw refusal(untouched(order, resuming), all);
  if (!order.dryRun) {
    await fetch.download(signal);
    return true;
  }
  dialogue.onPlan(
    `Snapshot: ${fetch.url}, ${found.size} bytes\nIt would be downloaded to ${path}, and proven there before anything is moved.\nNothing stands in the way so far; what is in it is known when it is here.\n`,
  );
  return false;
}

/** When only the end is left, nothing stands in its way: all data are in place, and etcd may run already. */
function hurtingNobody(found: Preflight): Preflight {
  const notes = [...found.notes, ...found.obstacles.map(({ what }) => what)];
  return { ...found, obstacles: [], notes };
}

/**
 * Whether what a restore began with is still where it was downloaded to, where it is proven again in any case; or is needed no
 * more.
 */
async function hasSnapshot(journal: Journal, path: string | undefined): Promise<boolean> {
  if (path === undefined || !(await isOf(journal, path))) return false;
  return (await exists(path)) || canDoWithout(journal, path);
}

/** The one member that there is now. */
async function remaining(
  { places, purpose }: Journal,
  signal: AbortSignal,
): Promise<DatabaseMember | undefined> {
  if (purpose !== 'reset') return undefined;
  return (await readDatabase(join(places.dataDir, 'member/snap/db'), signal)).members[0];
}

/** What a reset worked on may have been moved already; that it was sound was seen when it began. */
async function goingOn(
  { order, active }: RestoreParts,
  journal: Journal,
  signal: AbortSignal,
): Promise<Preflight> {
  const { workDir } = journal.places;
  const snapshot = await readOldData(journal, signal);
  const token = await checkToken(order, snapshot.database);
  const running = (await stopsByItself(journal)) ? [] : await whatRuns(order, active);
  const obstacles = [...running, ...token.obstacles];
  const space = { needed: 0, free: 0 };
  return { obstacles, notes: token.notes, snapshot, journal, workDir, files: token.files, space };
}

function workshopOf({ order, tools, active }: RestoreParts): Workshop {
  return {
    tools,
    running: () => whatRuns(order, active),
    bootstrap: order.serverDir === undefined ? undefined : (database) => decryptedBy(order, database),
  };
}
