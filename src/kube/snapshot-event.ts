import {
  type ETCDSnapshotFile,
  type Program,
  S3_NODE,
  snapshotFileResource,
} from '../crds/etcd-snapshot-file.ts';
import type { KubeClient } from './client.ts';

/** Events of cluster-scoped objects live there. */
const NAMESPACE = 'default';
const MAX_NAME = 253;
const MAX_MESSAGE = 1024;

export interface EventOrigin {
  readonly program: Program;
  readonly nodeName: string;
  readonly now: Date;
}

/** Tells, in the seed's words, that a record was created. @throws as `KubeClient.request` */
export async function emitRecorded(
  client: KubeClient,
  file: ETCDSnapshotFile,
  origin: EventOrigin,
  signal: AbortSignal,
): Promise<void> {
  const body = recordedEvent(file, origin);
  await client.request({ method: 'POST', path: `/api/v1/namespaces/${NAMESPACE}/events`, body, signal });
}

/** A core/v1 Event of the record `file`, as the API server returned it. */
function recordedEvent(file: ETCDSnapshotFile, { program, nodeName, now }: EventOrigin) {
  const { name, uid, resourceVersion } = file.metadata;
  const time = now.toISOString().replace(/\.\d{3}Z$/, 'Z');
  const component = `${program}-supervisor`;
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { name: eventName(name, now), namespace: NAMESPACE },
    involvedObject: {
      apiVersion: snapshotFileResource.apiVersion,
      kind: snapshotFileResource.kind,
      name,
      uid,
      resourceVersion,
    },
    ...describe(file),
    source: { component },
    reportingComponent: component,
    reportingInstance: nodeName,
    firstTimestamp: time,
    lastTimestamp: time,
    count: 1,
  };
}

function describe(file: ETCDSnapshotFile): { type: string; reason: string; message: string } {
  const { snapshotName, nodeName } = file.spec;
  const place = nodeName === S3_NODE ? 'S3' : nodeName;
  const error = file.status?.error;
  if (error === undefined) {
    const message = `Snapshot ${snapshotName} saved on ${place}`;
    return { type: 'Normal', reason: 'ETCDSnapshotCreated', message };
  }
  const why = error.message ? `: ${error.message}` : '';
  const message = `Failed to save snapshot ${snapshotName} on ${place}${why}`.slice(0, MAX_MESSAGE);
  return { type: 'Warning', reason: 'ETCDSnapshotFailed', message };
}

/** `<object>.<nanoseconds in hex>`, as Kubernetes' own recorders name events; long object names are cut. */
function eventName(objectName: string, now: Date): string {
  const suffix = `.${(BigInt(now.getTime()) * 1_000_000n).toString(16)}`;
  return objectName.slice(0, MAX_NAME - suffix.length).replace(/[^a-z0-9]+$/, '') + suffix;
}
