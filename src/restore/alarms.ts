import type { DatabaseFacts } from './database.ts';

const MEANINGS: Readonly<Record<string, string>> = {
  NOSPACE:
    'etcd takes no writes until it is lifted: make room first (etcdctl defrag, or a larger --quota-backend-bytes)',
  CORRUPT:
    'members differed when it was raised; what is in the snapshot is what one of them held: look at it with care',
};

/** A restore brings alarms back with the data, and only etcd can lift them. */
export function alarmNotes({ alarms }: Pick<DatabaseFacts, 'alarms'>): string[] {
  return alarms.map(
    (alarm) =>
      `the alarm ${alarm} is raised in these data: ${MEANINGS[alarm] ?? ''}; once etcd runs, lift it with: etcdctl alarm disarm`,
  );
}
