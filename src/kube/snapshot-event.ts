import {
  type ETCDSnapshotFile,
  type Program,
  S3_NODE,
  snapshotFileResource,
} from '../crds/etcd-snapshot-file.ts';
import type { KubeClient } from './client.ts';
import { eventName, eventsPath, type InvolvedObject, type KubeEvent, toEvent } from './event-object.ts';

export interface EventOrigin {
  readonly program: Program;
  readonly nodeName: string;
  readonly now: Date;
}

/** Tells, in the seed's words, that a record was created. @throws as `KubeClient.request` */
export async function emitRecorded(
  client: Pick<KubeClient, 'request'>,
  file: ETCDSnapshotFile,
  { program, nodeName, now }: EventOrigin,
  signal: AbortSignal,
): Promise<void> {
  const { apiVersion, kind } = snapshotFileResource;
  const { name, uid, resourceVersion } = file.metadata;
  const object: InvolvedObject = { apiVersion, kind, name, uid, resourceVersion };
  const event: KubeEvent = { object, ...describe(file) };
  const series = { count: 1, first: now, last: now };
  const body = toEvent(event, eventName(name, now), { program, instance: nodeName }, series);
  await client.request({ method: 'POST', path: eventsPath(object), body, signal });
}

function describe(file: ETCDSnapshotFile): Omit<KubeEvent, 'object'> {
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
