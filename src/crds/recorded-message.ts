import { type ETCDSnapshotFile, S3_NODE } from './etcd-snapshot-file.ts';

/** What the Event of a record's creation says, in the seed's words. */
export function recordedMessage(file: ETCDSnapshotFile): {
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
} {
  const { snapshotName, nodeName } = file.spec;
  const place = nodeName === S3_NODE ? 'S3' : nodeName;
  const error = file.status?.error;
  if (error === undefined) {
    const message = `Snapshot ${snapshotName} saved on ${place}`;
    return { type: 'Normal', reason: 'ETCDSnapshotCreated', message };
  }
  const why = error.message ? `: ${error.message}` : '';
  const message = `Failed to save snapshot ${snapshotName} on ${place}${why}`;
  return { type: 'Warning', reason: 'ETCDSnapshotFailed', message };
}
