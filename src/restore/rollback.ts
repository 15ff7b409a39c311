import { mkdir, readdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { SnapshotError } from '../errors.ts';
import { certificateCopies, namesOfData, resetFlag } from './apply.ts';
import { exists, moveTo, removeUnfinished } from './files.ts';
import { isBehind, type Journal, type Move, removeJournal, writeJournal } from './journal.ts';
import { startPods } from './manifests.ts';
import { journalPath } from './places.ts';

/** What a rollback did, in words. */
export interface RolledBack {
  readonly moves: readonly string[];
}

/**
 * Puts the old data back, and the certificates, whatever step the restore was in. What the restore made is put aside, not
 * deleted, but for what lies in its work folder. Each move is noted before it is made, so that another rollback goes on where
 * this one was cut off. @throws SnapshotError when the old data are gone, or something is in the way
 */
export async function rollBack(journal: Journal): Promise<RolledBack> {
  const { places } = journal;
  const path = await journalPath(places.dataDir);
  const { moves, begun } = journal.rollback ?? { moves: await movesBack(journal), begun: 0 };
  for (const [at, move] of moves.entries()) {
    if (at < begun) continue;
    await writeJournal(path, { ...journal, rollback: { moves, begun: at } });
    await makeMove(journal, move);
  }
  await writeJournal(path, { ...journal, rollback: { moves, begun: moves.length } });
  for (const { to } of certificateCopies(journal))
    await rm(`${to}.unfinished`, { recursive: true, force: true });
  if (places.serverDir !== undefined) {
    const flag = resetFlag(places.serverDir);
    await removeUnfinished(flag);
    await rm(flag, { force: true });
  }
  await rm(places.workDir, { recursive: true, force: true });
  // In a mounted folder it is empty now.
  if (places.mounted && (await exists(places.oldDir))) await rmdir(places.oldDir);
  await startPods(journal);
  await removeJournal(path);
  return { moves: moves.map(({ from, to }) => `${from} is ${to} now`) };
}

/** @throws SnapshotError `conflict` when what the journal is of is being undone, so that nothing else may begin */
export function assertNotGoingBack(journal: Journal | undefined): void {
  if (journal?.rollback === undefined) return;
  throw new SnapshotError('conflict', `A rollback of ${journal.places.dataDir} is not finished`, {
    why: `it was cut off after ${journal.rollback.begun} of ${journal.rollback.moves.length} moves`,
    hint: 'Run "etcd-snapshot restore --rollback" again first.',
  });
}

/** One that was noted may have been made or not; anything else than these two was done by somebody else. */
async function makeMove({ places }: Journal, { from, to }: Move): Promise<void> {
  const [there, done] = await Promise.all([exists(from), exists(to)]);
  if (!there && done) return;
  if (!there || done) {
    throw new SnapshotError('conflict', `${from} cannot be moved to ${to}`, {
      why: there ? `there is a ${to} already` : 'neither of them exists',
      hint: there
        ? `Move ${to} away, and run the same command again.`
        : `Look at the folders beside ${places.dataDir}; when the data are where they belong, remove the journal beside them.`,
    });
  }
  if (places.mounted) await mkdir(undoneDir(places), { recursive: true, mode: 0o700 });
  await moveTo(from, to);
}

/** What a rollback would move. @throws SnapshotError `not-found` when the old data are gone */
export async function movesBack(journal: Journal): Promise<Move[]> {
  const { places, began, hadData } = journal;
  const oldIsAside = await exists(places.oldDir);
  if (hadData && isBehind(journal, 'set-aside') && !oldIsAside) {
    throw new SnapshotError('not-found', `The old data of ${places.dataDir} are gone`, {
      why: `${places.oldDir} does not exist any more; nothing was touched`,
      hint: `Bring them back to that place; or, to keep what is in ${places.dataDir} now and have no way back, remove ${await journalPath(places.dataDir)}, and restore another snapshot if you like.`,
    });
  }
  const data = places.mounted ? await movesInside(journal) : await movesOfFolder(journal, oldIsAside);
  const certificates: Move[] = [];
  for (const { from, to } of certificateCopies(journal)) {
    if (!(await exists(to))) continue;
    if (await exists(from)) certificates.push({ from, to: `${from}-undone-${began}` });
    certificates.push({ from: to, to: from });
  }
  return [...data, ...certificates];
}

async function movesOfFolder(journal: Journal, oldIsAside: boolean): Promise<Move[]> {
  const { places, hadData } = journal;
  const isMade = oldIsAside || (!hadData && isBehind(journal, 'set-aside'));
  return [
    ...(isMade && (await exists(places.dataDir)) ? [{ from: places.dataDir, to: undoneDir(places) }] : []),
    ...(oldIsAside ? [{ from: places.oldDir, to: places.dataDir }] : []),
  ];
}

/** A mount point stays where it is: what is in it moves. */
async function movesInside(journal: Journal): Promise<Move[]> {
  const { places } = journal;
  const { dataDir, oldDir } = places;
  // While the old data are still being moved away, nothing in there is of the restore.
  const made = isBehind(journal, 'set-aside') ? await namesOfData(journal) : [];
  const old = (await exists(oldDir)) ? await readdir(oldDir) : [];
  return [
    ...made.map((name) => ({ from: join(dataDir, name), to: join(undoneDir(places), name) })),
    ...old.map((name) => ({ from: join(oldDir, name), to: join(dataDir, name) })),
  ];
}

function undoneDir({ oldDir }: Journal['places']): string {
  return oldDir.replace(/-old-(\d+)$/, '-undone-$1');
}
