import type { Option, OptionKey } from './option.ts';

const operator = ['operator'] as const;

function schedule(
  name: string,
  key: OptionKey,
  rest: Pick<Option, 'type' | 'help'> & Partial<Option>,
): Option {
  return { key, flag: name, alias: `etcd-${name}`, section: 'Schedule', commands: operator, ...rest };
}

function own(name: string, key: OptionKey, rest: Pick<Option, 'type' | 'help'> & Partial<Option>): Option {
  return { key, flag: name, section: 'Operator', commands: operator, ...rest };
}

/** The rows of the operator alone: those that `k3s server` has too, then our own. */
export const operatorOptions: readonly Option[] = [
  schedule('snapshot-schedule-cron', 'scheduleCron', {
    type: 'string',
    default: '0 */12 * * *',
    help: 'When to take snapshots, in the time zone of the system: five fields of cron, @daily, @every 6h, …',
  }),
  schedule('disable-snapshots', 'disableSnapshots', {
    type: 'boolean',
    help: 'Take no scheduled snapshots',
  }),
  schedule('snapshot-reconcile-interval', 'reconcileInterval', {
    type: 'duration',
    default: '10m0s',
    help: 'How often disk and S3 are compared with the records when nothing tells of a change',
  }),
  own('deletion-policy', 'deletionPolicy', {
    type: 'choice',
    choices: ['Delete', 'Retain'],
    default: 'Delete',
    help: 'What becomes of the data when somebody deletes a record: Delete or Retain',
  }),
  own('cluster-name', 'clusterName', { type: 'string', help: 'A label of all metrics: cluster="…"' }),
  own('listen-address', 'listenAddress', {
    type: 'string',
    default: '127.0.0.1:8383',
    help: 'Where /healthz, /readyz and /metrics are served',
  }),
  own('grace-period', 'gracePeriod', {
    type: 'duration',
    default: '1m0s',
    help: 'How long a running snapshot may take to finish when the operator is told to end',
  }),
  own('uninstall', 'uninstall', {
    type: 'boolean',
    help: 'Instead of running, take our finalizers off all records and end; all data and records stay',
  }),
];
