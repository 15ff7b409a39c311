import { statfs } from 'node:fs/promises';
import { isSnapshotError, SnapshotError, systemCode } from '../errors.ts';

export interface DiskProblem {
  /** What could not be done, one line. */
  readonly what: string;
  /** Path on the file system whose free space counts. */
  readonly path: string;
  /** Bytes that the work needs in all, where known. */
  readonly needed?: number;
}

/** A system error of the local disk in our terms; an error that is ours already comes back as it is. */
export async function diskError(error: unknown, problem: DiskProblem): Promise<SnapshotError> {
  if (isSnapshotError(error)) return error;
  const { what, path } = problem;
  switch (systemCode(error)) {
    case 'ENOSPC':
    case 'EDQUOT':
      return diskFull(problem, await freeBytes(path), error);
    case 'EROFS':
      return new SnapshotError('read-only', what, {
        why: `the file system of ${path} is mounted read-only`,
        hint: 'Mount it writable, or choose another folder with --dir.',
        cause: error,
      });
    case 'EACCES':
    case 'EPERM':
      return new SnapshotError('read-only', what, {
        why: `this user may not write to ${path}`,
        hint: 'Run as the owner of the folder (usually root), or choose another folder with --dir.',
        cause: error,
      });
    case 'ENOENT':
      return new SnapshotError('not-found', what, {
        hint: `Check that ${path} still exists and that nobody else cleans it up.`,
        cause: error,
      });
    case 'ENOTDIR':
      return new SnapshotError('not-found', what, {
        why: `a part of the path ${path} is a file, not a folder`,
        hint: 'Move that file away, or choose another folder with --dir.',
        cause: error,
      });
    default:
      return new SnapshotError('io', what, {
        hint: `Check the disk that holds ${path}; the kernel log (dmesg) may say more.`,
        cause: error,
      });
  }
}

const NOT_THERE = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'];

/**
 * What the failure of a call means that needs a feature of the file system, in a folder where this user may make files;
 * undefined when it is another one. vFAT, exFAT, network and FUSE file systems often lack some.
 */
export function lacks(
  error: unknown,
  feature: 'hard links' | 'Unix sockets',
  problem: DiskProblem,
): SnapshotError | undefined {
  if (!NOT_THERE.includes(systemCode(error) ?? '')) return undefined;
  return new SnapshotError('io', problem.what, {
    why: `the file system of ${problem.path} has no ${feature}, and without them a snapshot cannot be kept safely`,
    hint: 'Choose a folder on a file system of Linux (ext4, xfs, btrfs, NFS) with --dir, and copy snapshots from there.',
    cause: error,
  });
}

export function diskFull(problem: DiskProblem, free: number | undefined, cause?: unknown): SnapshotError {
  const need = problem.needed === undefined ? '' : `${problem.needed} bytes are needed, and `;
  const left = free === undefined ? 'the disk is full' : `the disk is full: ${free} bytes are free`;
  return new SnapshotError('disk-full', problem.what, {
    why: `${need}${left} in ${problem.path}`,
    hint: 'Free some space, delete old snapshots, or choose a folder on another disk with --dir.',
    cause,
  });
}

/** Bytes that this user may still write to the file system of `path`; undefined when it does not say. */
export async function freeBytes(path: string): Promise<number | undefined> {
  return statfs(path).then(
    (stats) => stats.bavail * stats.bsize,
    () => undefined,
  );
}
