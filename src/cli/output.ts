import { stringify } from 'yaml';
import type { OutputFormat } from '../config/types.ts';
import type { ETCDSnapshotFile } from '../crds/etcd-snapshot-file.ts';
import { fromSnapshotFile, toListItem } from '../crds/mapping.ts';
import { byAge, compare } from '../snapshot/list-snapshots.ts';
import { locationUrl, type Program, type Snapshot } from '../snapshot/snapshot.ts';
import { printable } from './error-text.ts';

/**
 * The list as `k3s etcd-snapshot ls` prints it: a table, or one `List` of ETCDSnapshotFile.
 * @param compared the node whose disk was compared with S3: the table then says behind a row what is only in one of them
 */
export function formatSnapshots(
  snapshots: readonly Snapshot[],
  format: OutputFormat,
  program: Program,
  compared?: string,
): string {
  if (format !== 'table') {
    return listOf(
      snapshots.map((snapshot) => toListItem(snapshot, program)),
      format,
    );
  }
  const marks = compared === undefined ? () => '' : onlyIn(snapshots);
  return columns([
    ['Name', 'Location', 'Size', 'Created'],
    ...snapshots.map((snapshot) => {
      // What another node took may well be on the disk of that node.
      const ofOther = snapshot.nodeName !== undefined && snapshot.nodeName !== compared;
      return rowOf(snapshot, [], ofOther ? '' : marks(snapshot));
    }),
  ]);
}

/** The records of a cluster in the same forms, oldest first, under their own names, and in the table with their nodes. */
export function formatRecords(
  records: readonly ETCDSnapshotFile[],
  format: OutputFormat,
  program: Program,
): string {
  const sorted = records
    .map((file) => ({ file, snapshot: fromSnapshotFile(file, program) }))
    .toSorted((a, b) => byAge(a.snapshot, b.snapshot) || compare(a.file.spec.nodeName, b.file.spec.nodeName));
  if (format !== 'table') {
    return listOf(
      sorted.map(({ file }) => file),
      format,
    );
  }
  const copies = sorted.map(({ snapshot }) => snapshot).filter(({ failure }) => failure === undefined);
  const marks = copies.some(({ location }) => location.store === 's3') ? onlyIn(copies) : () => '';
  return columns([
    ['Name', 'Node', 'Location', 'Size', 'Created'],
    ...sorted.map(({ file, snapshot }) => {
      const { failure } = snapshot;
      const mark = failure === undefined ? marks(snapshot) : `failed: ${printable(oneLine(failure.message))}`;
      return rowOf(snapshot, [printable(file.spec.nodeName)], mark);
    }),
  ]);
}

function listOf(items: readonly ETCDSnapshotFile[], format: 'json' | 'yaml'): string {
  const list = { apiVersion: 'v1', kind: 'List', items };
  // Most readers, kubectl's among them, still go by YAML 1.1, where an unquoted time is no string.
  return format === 'json'
    ? `${JSON.stringify(list, undefined, 4)}\n`
    : stringify(list, { schema: 'yaml-1.1', aliasDuplicateObjects: false });
}

function rowOf(snapshot: Snapshot, node: readonly string[], mark: string): string[] {
  const { name, location, size, createdAt } = snapshot;
  const row = [
    printable(name),
    ...node,
    printable(locationUrl(location)) || '-',
    String(size),
    rfc3339(createdAt),
  ];
  return mark === '' ? row : [...row, mark];
}

/** Says of a snapshot whether it is in one of the two places only; empty when it is in both. */
function onlyIn(snapshots: readonly Snapshot[]): (snapshot: Snapshot) => string {
  const namesIn = (store: Snapshot['location']['store']) =>
    new Set(snapshots.flatMap(({ name, location }) => (location.store === store ? [name] : [])));
  const [disk, s3] = [namesIn('local'), namesIn('s3')];
  return ({ name, location }) => {
    if (location.store === 'local') return s3.has(name) ? '' : 'only on disk';
    return disk.has(name) ? '' : 'only on S3';
  };
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ');
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
