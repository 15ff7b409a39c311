import { isSnapshotError } from '../errors.ts';
import { parseSchedule, type Schedule } from '../snapshot/schedule.ts';
import { parseBoolean, parseDuration } from './duration.ts';
import type { Given, Problem } from './flags.ts';

/** What only the operator needs to know, resolved and checked. */
export interface OperatorSettings {
  /** Undefined: no scheduled snapshots. */
  readonly schedule: Schedule | undefined;
  /** Scheduled snapshots of this node that stay on its disk; below 1: all. */
  readonly retention: number;
  /** Milliseconds between two looks at the stores when nothing has told of a change. */
  readonly reconcileIntervalMs: number;
  readonly deletionPolicy: 'Delete' | 'Retain';
  /** A label of all metrics, for those who gather them from many clusters. */
  readonly clusterName: string | undefined;
  readonly listen: { readonly host: string; readonly port: number };
  /** Milliseconds that a running snapshot has to finish when the operator is told to end. */
  readonly gracePeriodMs: number;
  /** Only to take our finalizers off all records, for when the operator is to go. */
  readonly uninstall: boolean;
}

/** As k3s has it. */
const DEFAULT_RETENTION = 5;

const DEFAULTS = {
  cron: '0 */12 * * *',
  reconcileIntervalMs: 600_000,
  gracePeriodMs: 60_000,
  listen: '127.0.0.1:8383',
} as const;

/** Shorter, and one look would begin before the last one is over. */
const LEAST_INTERVAL_MS = 10_000;

/** The operator's part of the settings; what is wrong is added to `problems`. */
export function operatorSettings(given: Given, problems: Problem[]): OperatorSettings {
  const disabled = parseBoolean(given.disableSnapshots ?? 'false') === true;
  const schedule = scheduleOf(given.scheduleCron ?? DEFAULTS.cron, problems);
  return {
    schedule: disabled ? undefined : schedule,
    retention: retentionOf(given),
    reconcileIntervalMs: interval(given.reconcileInterval, problems),
    deletionPolicy: given.deletionPolicy?.toLowerCase() === 'retain' ? 'Retain' : 'Delete',
    clusterName: given.clusterName,
    listen: addressOf(given.listenAddress ?? DEFAULTS.listen, problems),
    gracePeriodMs: parseDuration(given.gracePeriod ?? '') ?? DEFAULTS.gracePeriodMs,
    uninstall: parseBoolean(given.uninstall ?? 'false') === true,
  };
}

/** Snapshots of one base name that stay on a disk; below 1: all. */
export function retentionOf(given: Given): number {
  return given.retention === undefined ? DEFAULT_RETENTION : Number(given.retention);
}

function scheduleOf(text: string, problems: Problem[]): Schedule | undefined {
  try {
    return parseSchedule(text);
  } catch (error) {
    if (!isSnapshotError(error, 'usage')) throw error;
    problems.push({
      what: `--snapshot-schedule-cron: ${error.message}${error.why === undefined ? '' : `: ${error.why}`}`,
      cure: (error.hint ?? 'correct it').replace(/\.$/, ''),
    });
    return undefined;
  }
}

function interval(text: string | undefined, problems: Problem[]): number {
  const ms = text === undefined ? DEFAULTS.reconcileIntervalMs : (parseDuration(text) ?? 0);
  if (ms < LEAST_INTERVAL_MS) {
    problems.push({
      what: `--snapshot-reconcile-interval: ${JSON.stringify(text)} is too short`,
      cure: `give at least ${LEAST_INTERVAL_MS / 1000}s`,
    });
  }
  return ms;
}

/** `host:port`, `[v6]:port` or `:port` for all addresses. */
function addressOf(text: string, problems: Problem[]): OperatorSettings['listen'] {
  const [, host, digits] = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]*):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits ?? Number.NaN);
  if (host === undefined || !(port <= 65_535)) {
    problems.push({
      what: `--listen-address: ${JSON.stringify(text)} is no address`,
      cure: 'give host:port, for instance 127.0.0.1:8383',
    });
  }
  return { host: host === '' || host === undefined ? '::' : host.replace(/^\[|\]$/g, ''), port };
}
