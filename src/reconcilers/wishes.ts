import type { ETCDSnapshotFile, RecordKeys } from '../crds/etcd-snapshot-file.ts';

/** Whether somebody has put a hold on it. Every value holds, except `false`. */
export function isHeld(file: ETCDSnapshotFile, keys: RecordKeys): boolean {
  const hold = file.metadata.annotations?.[keys.hold];
  return hold !== undefined && hold.toLowerCase() !== 'false';
}

/** Whether people have asked in annotations for what would be forgotten if the record went. */
export function hasWishes(file: ETCDSnapshotFile, keys: RecordKeys): boolean {
  return isHeld(file, keys) || file.metadata.annotations?.[keys.deletionPolicy] !== undefined;
}

/**
 * The annotations of a record by which people keep its data, for the record that is made of the same copy after it. That
 * one could be deleted with its data is not among them: whoever deleted the record has had that.
 */
export function keepingWishes(file: ETCDSnapshotFile, keys: RecordKeys): Readonly<Record<string, string>> {
  const { [keys.hold]: hold, [keys.deletionPolicy]: policy } = file.metadata.annotations ?? {};
  return {
    ...(hold !== undefined && isHeld(file, keys) ? { [keys.hold]: hold } : {}),
    ...(policy !== undefined && policy.toLowerCase() !== 'delete' ? { [keys.deletionPolicy]: policy } : {}),
  };
}
