import { stringify } from 'yaml';
import type { Config } from '../config/types.ts';
import { abortError, isSnapshotError } from '../errors.ts';
import type { StorePrune } from '../removal.ts';
import type { RetentionDecision } from '../snapshot/retention.ts';
import { locationUrl } from '../snapshot/snapshot.ts';
import { printable } from './error-text.ts';
import { exitCodes } from './exit-codes.ts';
import { openMessages } from './messages.ts';
import { columns } from './output.ts';
import type { Terminal } from './root.ts';

/**
 * `etcd-snapshot prune`: a line per deleted copy, and why, on stderr; with `--dry-run` a table of what would become of each
 * snapshot on stdout, or with `-o` one document, also of what was done. 1 when something that should be gone is not.
 */
export async function prune(config: Config, terminal: Terminal, signal: AbortSignal): Promise<number> {
  const { logger, warn, fail } = openMessages(config, terminal);
  const { openApp } = await import('../app.ts');
  await using app = openApp(config, (facts, message) => logger.debug(facts, message));
  const { stores, failures, warnings } = await app.removal.prune(config.dryRun, signal);
  if (config.dryRun && signal.aborted) throw abortError(signal);
  if (config.output !== 'table') terminal.stdout.write(planDocument(stores, config));
  else if (config.dryRun) terminal.stdout.write(planTable(stores));
  for (const { store, plan, deleted, keep } of stores) {
    const gone = new Set(deleted);
    for (const { snapshot, why } of plan.delete) {
      if (!gone.has(snapshot)) continue;
      logger.info({ location: locationUrl(snapshot.location), why }, `Snapshot ${snapshot.name} deleted.`);
    }
    if (plan.delete.length === 0) logger.info({}, nothingToDo(store, config, keep, plan.keep.length));
  }
  warn([...app.warnings, ...warnings]);
  const errors = stores.flatMap((store) => store.failures.map(({ error }) => error));
  fail([...failures, ...errors].filter((error) => !isSnapshotError(error, 'aborted')));
  if (signal.aborted) throw abortError(signal);
  return failures.length + errors.length === 0 ? exitCodes.done : exitCodes.failed;
}

/** Everything that the policy is about: what would go from the oldest on, then what stays. */
function planTable(stores: readonly StorePrune[]): string {
  const row = (verdict: string) => (decision: RetentionDecision) => [
    verdict,
    printable(decision.snapshot.name),
    printable(locationUrl(decision.snapshot.location)),
    decision.why,
  ];
  return columns([
    ['Verdict', 'Name', 'Location', 'Why'],
    ...stores.flatMap(({ plan }) => [...plan.delete.map(row('delete')), ...plan.keep.map(row('keep'))]),
  ]);
}

/** The same for programs. `deleted` tells what went; in a dry run nothing does. */
function planDocument(stores: readonly StorePrune[], { dryRun, output }: Config): string {
  const document = {
    dryRun,
    stores: stores.map(({ store, keep, plan, deleted, failures }) => ({
      store,
      retention: keep,
      delete: plan.delete.map(shown),
      keep: plan.keep.map(shown),
      deleted: deleted.map(({ name }) => name),
      failed: failures.map(({ name, error }) => ({ name, code: error.code, message: error.message })),
    })),
  };
  return output === 'json'
    ? `${JSON.stringify(document, undefined, 4)}\n`
    : stringify(document, { schema: 'yaml-1.1' });
}

function shown({ snapshot, why }: RetentionDecision) {
  return { name: snapshot.name, location: locationUrl(snapshot.location), why };
}

function nothingToDo(
  store: StorePrune['store'],
  { snapshotName }: Config,
  keep: number,
  kept: number,
): string {
  const place = store === 's3' ? 'S3' : 'disk';
  if (keep < 1) return `Nothing to prune on ${place}: with a retention of ${keep} all snapshots stay.`;
  return `Nothing to prune on ${place}: ${kept} called ${snapshotName}-<node>-<time>, and ${keep} of each node stay.`;
}
