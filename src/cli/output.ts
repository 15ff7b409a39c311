import { stringify } from 'yaml';
import type { OutputFormat } from '../config/types.ts';
import { toListItem } from '../crds/mapping.ts';
import { locationUrl, type Program, type Snapshot } from '../snapshot/snapshot.ts';
import { printable } from './error-text.ts';

/** The list as `k3s etcd-snapshot ls` prints it: a table, or one `List` of ETCDSnapshotFile. */
export function formatSnapshots(
  snapshots: readonly Snapshot[],
  format: OutputFormat,
  program: Program,
): string {
  if (format === 'table') return table(snapshots);
  const items = snapshots.map((snapshot) => toListItem(snapshot, program));
  const list = { apiVersion: 'v1', kind: 'List', items };
  // Most readers, kubectl's among them, still go by YAML 1.1, where an unquoted time is no string.
  return format === 'json'
    ? `${JSON.stringify(list, undefined, 4)}\n`
    : stringify(list, { schema: 'yaml-1.1' });
}

function table(snapshots: readonly Snapshot[]): string {
  const rows = [
    ['Name', 'Location', 'Size', 'Created'],
    ...snapshots.map((snapshot) => [
      printable(snapshot.name),
      printable(locationUrl(snapshot.location)),
      String(snapshot.size),
      rfc3339(snapshot.createdAt),
    ]),
  ];
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) => `${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' ')}\n`)
    .join('');
}

/** In local time with its offset, `Z` where that is none. */
function rfc3339(time: Date): string {
  const offset = -time.getTimezoneOffset();
  if (offset === 0) return `${time.toISOString().slice(0, 19)}Z`;
  const local = new Date(time.getTime() + offset * 60_000).toISOString().slice(0, 19);
  const pad = (value: number) => String(Math.trunc(Math.abs(value))).padStart(2, '0');
  return `${local}${offset < 0 ? '-' : '+'}${pad(offset / 60)}:${pad(offset % 60)}`;
}
