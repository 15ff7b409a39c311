import { SnapshotError } from '../errors.ts';
import type { MemberStatus } from './ports.ts';

/** What etcd says is wrong with itself, as warnings: none of it keeps a snapshot from being taken. */
export function memberComplaints({ endpoint, memberId, errors }: MemberStatus): readonly SnapshotError[] {
  return errors.map(
    (complaint) =>
      new SnapshotError('io', `etcd member ${memberId} at ${endpoint} is not well`, {
        why: `etcd says: ${complaint.trim()}`,
        hint:
          'The snapshot holds what the member holds: with alarm CORRUPT that may be damaged, with NOSPACE or no leader ' +
          'it may be old. Put etcd right (etcdctl alarm list), and do not rely on this snapshot alone.',
      }),
  );
}
