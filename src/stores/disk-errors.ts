import { statfs } from 'node:fs/promises';
import { asError, isSnapshotError, SnapshotError, systemCode } from '../errors.ts';

/** What a failed call on the snapshot folder means for the user. `needed` is in bytes. */
export async function fromDiskError(
  doing: string,
  dir: string,
  error: unknown,
  needed?: number,
): Promise<SnapshotError> {
  if (isSnapshotError(error)) return error;
  const code = systemCode(error);
  const cause = asError(error);
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new SnapshotError('disk-full', doing, {
      why: `there is no space left in ${dir}: ${await room(dir)}${needed === undefined ? '' : `, ${needed} bytes are needed`}`,
      hint: 'Free some space, delete old snapshots, or choose another folder with --dir.',
      retryable: true,
      cause,
    });
  }
  if (code === 'EROFS' || code === 'EACCES' || code === 'EPERM') {
    return new SnapshotError('read-only', doing, {
      why: code === 'EROFS' ? `${dir} is on a read-only file system` : `this user may not write to ${dir}`,
      hint: 'Run as root, or choose a folder that can be written with --dir.',
      cause,
    });
  }
  return new SnapshotError('io', doing, { cause, hint: 'Check the disk; the kernel log may tell more.' });
}

async function room(dir: string): Promise<string> {
  return statfs(dir).then(
    (disk) => `${disk.bavail * disk.bsize} bytes are free`,
    () => 'how much is free could not be told',
  );
}

export function missingFolder(dir: string): SnapshotError {
  return new SnapshotError('not-found', `The snapshot folder ${dir} does not exist`, {
    why: 'a folder that is named with --dir is not made, lest a typing error or a missing mount go unnoticed',
    hint: `Make it first (mkdir -m 0700 ${dir}), or correct --dir.`,
  });
}

export function notAFolder(dir: string): SnapshotError {
  return new SnapshotError('usage', `${dir} is not a directory`, {
    why: 'snapshots are kept in a folder',
    hint: 'Correct --dir.',
  });
}
