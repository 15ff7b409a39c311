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
  return columns([
    ['Name', 'Location', 'Size', 'Created'],
    ...snapshots.map((snapshot) => [
      printable(snapshot.name),
      printable(locationUrl(snapshot.location)),
      String(snapshot.size),
      rfc3339(snapshot.createdAt),
    ]),
  ]);
}

/** Left-aligned columns with a space between; the last one is not filled up. */
export function columns(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, cell.length);
  }
  const line = (row: readonly string[]) =>
    row.map((cell, at) => (at === row.length - 1 ? cell : cell.padEnd(widths[at] ?? 0))).join(' ');
  return rows.map((row) => `${line(row)}\n`).join('');
}

/** In local time with its offset, `Z` where that is none. */
function rfc3339(time: Date): string {
  const offset = -time.getTimezoneOffset();
  if (offset === 0) return `${time.toISOString().slice(0, 19)}Z`;
  const local = new Date(time.getTime() + offset * 60_000).toISOString().slice(0, 19);
  const pad = (value: number) => String(Math.trunc(Math.abs(value))).padStart(2, '0');
  return `${local}${offset < 0 ? '-' : '+'}${pad(offset / 60)}:${pad(offset % 60)}`;
}
