import type { RestoreOrder } from '../config/restore-settings.ts';
import { SnapshotError } from '../errors.ts';
import { exists } from './files.ts';
import type { Journal } from './journal.ts';
import { stopPods, withManifestOfBefore } from './manifests.ts';
import { journalPath } from './places.ts';
import { refusal } from './refusal.ts';
import { movesBack, rollBack } from './rollback.ts';
import { assertStopped } from './watch.ts';
import { type ActiveServices, whatRuns } from './what-runs.ts';

/** Takes the last restore back, whatever step it is in. @returns undefined when it was only a look, or nobody agreed */
export async function undo(
  { order, active }: { readonly order: RestoreOrder; readonly active: ActiveServices },
  journal: Journal | undefined,
  dialogue: { readonly onPlan: (text: string) => void; readonly confirm: () => Promise<boolean> },
  signal: AbortSignal,
): Promise<string | undefined> {
  if (journal === undefined) {
    throw new SnapshotError('not-found', `There is no restore of ${order.dataDir} that could be undone`, {
      why: `${await journalPath(order.dataDir)} does not exist`,
      hint: 'See the folders beside it: old data are in those whose name ends in -old-<unix time>.',
    });
  }
  const { oldDir, manifests } = journal.places;
  const running = manifests === undefined ? await whatRuns(order, active) : [];
  if (running.length > 0) throw refusal(`The restore of ${order.dataDir} is not undone`, running);
  // Before manifests are moved away for nothing.
  const { rollback } = journal;
  const left = rollback === undefined ? await movesBack(journal) : rollback.moves.slice(rollback.begun);
  const untouched = left.length === 0 && (manifests === undefined || !(await exists(manifests.away)));
  dialogue.onPlan(
    untouched
      ? `Rollback: nothing is out of its place; what the restore of ${order.dataDir} prepared is removed.\n`
      : `Rollback: what is in ${order.dataDir} is put aside, and ${journal.hadData ? oldDir : 'nothing'} takes its place.\n`,
  );
  if (order.dryRun || !(order.yes || (await dialogue.confirm()))) return undefined;
  if (manifests === undefined) await assertStopped(order, journal, active);
  // A control plane that runs on data which stay where they are goes on.
  else if (!untouched) await stopPods(journal, () => whatRuns(order, active), signal);
  const { moves } = await rollBack(await withManifestOfBefore(journal));
  if (moves.length === 0) return 'Rolled back: nothing had to be moved\n';
  return `Rolled back:\n${moves.map((line) => `  ${line}\n`).join('')}`;
}
