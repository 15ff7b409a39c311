import { stringify } from 'yaml';
import type { OutputFormat } from '../config/types.ts';
import { isSnapshotError } from '../errors.ts';
import type { VerifiedSnapshot } from '../restore/verify-snapshot.ts';
import { printable } from './error-text.ts';

/** What became of one argument. */
export type Verdict =
  | { readonly given: string; readonly found: VerifiedSnapshot }
  | { readonly given: string; readonly error: Error };

const MOST_KINDS = 8;

/** For people, or as one document `{snapshots: [{given, restorable, …}]}`. */
export function formatVerified(verdicts: readonly Verdict[], format: OutputFormat): string {
  if (format === 'table') return verdicts.map(forPeople).join('');
  const document = { snapshots: verdicts.map(forPrograms) };
  return format === 'json'
    ? `${JSON.stringify(document, undefined, 4)}\n`
    : stringify(document, { schema: 'yaml-1.1' });
}

function forPeople(verdict: Verdict): string {
  if ('error' in verdict) return `${printable(verdict.given)}: CANNOT BE RESTORED\n`;
  const { found } = verdict;
  const zip = found.compressed ? `, unpacked ${found.plainSize}` : '';
  const lines = {
    file: `${found.path}, ${found.size} bytes${zip}`,
    'SHA-256': `${found.sha256}, as etcd wrote it`,
    etcd: `of a cluster of version ${found.etcdVersion ?? 'unknown'}; restored by etcdutl ${found.openedBy.etcdutl}, opened by etcd ${found.openedBy.etcd}`,
    revision: `${found.revision}, with ${found.keys} keys in ${found.records} records; HashKV ${found.hashKV}`,
    members: found.members.map(({ name, peerUrls }) => `${name} ${peerUrls.join(',')}`).join('; '),
    cluster: found.clusterId ?? 'not Kubernetes',
    objects: objects(found.kinds),
  };
  const rows = Object.entries(lines).map(([name, text]) => `  ${name.padEnd(9)} ${printable(text)}\n`);
  return `${printable(verdict.given)}: can be restored\n${rows.join('')}`;
}

function objects(kinds: ReadonlyMap<string, number>): string {
  const all = [...kinds];
  const total = all.reduce((sum, [, count]) => sum + count, 0);
  const shown = all.slice(0, MOST_KINDS).map(([kind, count]) => `${count} ${kind}`);
  const more = all.length > MOST_KINDS ? [`${all.length - MOST_KINDS} more kinds (-o json has all)`] : [];
  return total === 0 ? 'none of Kubernetes' : `${total} of Kubernetes: ${[...shown, ...more].join(', ')}`;
}

function forPrograms(verdict: Verdict): object {
  const { given } = verdict;
  if ('found' in verdict) {
    const { kinds, ...rest } = verdict.found;
    return { given, restorable: true, ...rest, kinds: Object.fromEntries(kinds) };
  }
  const { error } = verdict;
  const more = isSnapshotError(error) ? { code: error.code, why: error.why, hint: error.hint } : {};
  return { given, restorable: false, error: { message: error.message, ...more } };
}
