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
  origin: EventOrigin,
  signal: AbortSignal,
): Promise<void> {
  await emit(client, file, recordedMessage(file), origin, signal);
}

/** Tells that a snapshot is gone, and its record with it. @throws as `KubeClient.request` */
export async function emitDeleted(
  client: Pick<KubeClient, 'request'>,
  file: ETCDSnapshotFile,
  origin: EventOrigin,
  signal: AbortSignal,
): Promise<void> {
  const message = `Snapshot ${file.spec.snapshotName} deleted`;
  await emit(client, file, { type: 'Normal', reason: 'ETCDSnapshotDeleted', message }, origin, signal);
}

async function emit(
  client: Pick<KubeClient, 'request'>,
  file: ETCDSnapshotFile,
  said: Omit<KubeEvent, 'object'>,
  { program, nodeName, now }: EventOrigin,
  signal: AbortSignal,
): Promise<void> {
  const { apiVersion, kind } = snapshotFileResource;
  const { name, uid, resourceVersion } = file.metadata;
  const object: InvolvedObject = { apiVersion, kind, name, uid, resourceVersion };
  const series = { count: 1, first: now, last: now };
  const body = toEvent({ object, ...said }, eventName(name, now), { program, instance: nodeName }, series);
  await client.request({ method: 'POST', path: eventsPath(object), body, signal });
}
