import { SnapshotError } from '../errors.ts';
import { plausibleSnapshotSize } from './integrity.ts';

/** Longest file name that Linux file systems take, in bytes. */
const MAX_NAME_BYTES = 255;
/** What a temporary name adds to a final one: see `temporaryPath` in `stores/atomic-write.ts`. */
const TEMPORARY_BYTES = 24;

export interface NameParts {
  /** Base name: `etcd-snapshot` (scheduled) or `on-demand` unless the user chose another. */
  readonly base: string;
  readonly nodeName: string;
  readonly createdAt: Date;
  readonly compressed: boolean;
}

/** `<base>-<node>-<unix seconds>`, with `.zip` when compressed. Nothing is lower-cased or replaced: k3s does not either. */
export function buildSnapshotName(parts: NameParts): string {
  const seconds = Math.floor(parts.createdAt.getTime() / 1000);
  const name = `${parts.base}-${parts.nodeName}-${seconds}${parts.compressed ? '.zip' : ''}`;
  assertSnapshotName(name);
  return name;
}

/** Now, rounded half up to a second: the one instant that name, status and zip entry share. */
export function snapshotTime(now: Date): Date {
  return new Date(Math.floor(now.getTime() / 1000 + 0.5) * 1000);
}

/** The name of the file inside a compressed snapshot, and of the file that `unzip` leaves. */
export function uncompressedName(name: string): string {
  return name.endsWith('.zip') ? name.slice(0, -'.zip'.length) : name;
}

/** Last second that RFC 3339 can write, and so a record. */
const LAST_SECOND = Date.UTC(9999, 11, 31, 23, 59, 59) / 1000;

/**
 * The time that a snapshot's name carries: after one trailing `.zip`, the whole number behind the last `-`.
 * Undefined when there is none, or what no record could say, such as a date without separators; callers then take the time of the file or object.
 */
export function parseCreatedAt(name: string): Date | undefined {
  const seconds = Number(/-(\d{1,12})$/.exec(uncompressedName(name))?.[1]);
  return seconds <= LAST_SECOND ? new Date(seconds * 1000) : undefined;
}

/**
 * Whether a file or object of that name and size is shown as a snapshot, on disk and on S3 alike. What ends in a time and
 * every zip are, even with an odd size, so that a damaged snapshot shows; everything else must at least have the size of
 * one. k3s's `<name>.part` of a download is none of these.
 */
export function looksLikeSnapshot(name: string, size: number): boolean {
  if (size === 0 || nameProblem(name) !== undefined || name.endsWith('.part')) return false;
  return name.endsWith('.zip') || plausibleSnapshotSize(size) || parseCreatedAt(name) !== undefined;
}

/**
 * Refuses what is not a plain file name, so that no name ever leads out of the snapshot folder.
 * @throws SnapshotError `usage`
 */
export function assertSnapshotName(name: string): void {
  const why = nameProblem(name);
  if (why !== undefined) {
    throw new SnapshotError('usage', `${JSON.stringify(name)} cannot be the name of a snapshot`, {
      why,
      hint: 'Use letters, digits, "-", "_" and "."; a name is a plain file name of one folder.',
    });
  }
}

/** Why `name` cannot be a file name of the snapshot folder, or undefined when it can. */
export function nameProblem(name: string): string | undefined {
  if (name === '') return 'it is empty';
  if (name.includes('/') || name.includes('\\')) return 'it contains a path separator';
  if (name === '.' || name === '..' || name.startsWith('.')) return 'it begins with a dot';
  for (const char of name) {
    const code = char.codePointAt(0) ?? 0;
    if (code < 0x20 || code === 0x7f) return 'it contains a control character';
  }
  const bytes = Buffer.byteLength(name);
  const most = MAX_NAME_BYTES - TEMPORARY_BYTES;
  return bytes > most ? `it is ${bytes} bytes long, and ${most} is the most` : undefined;
}
