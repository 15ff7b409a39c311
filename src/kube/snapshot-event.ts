import { type ETCDSnapshotFile, type Program, snapshotFileResource } from '../crds/etcd-snapshot-file.ts';
import { recordedMessage } from '../crds/recorded-message.ts';
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
  const event: KubeEvent = { object, ...recordedMessage(file) };
  const series = { count: 1, first: now, last: now };
  const body = toEvent(event, eventName(name, now), { program, instance: nodeName }, series);
  await client.request({ method: 'POST', path: eventsPath(object), body, signal });
}
