import type { S3Source } from '../config/types.ts';
import type { ETCDSnapshotFile, Program } from '../crds/etcd-snapshot-file.ts';
import type { SnapshotError } from '../errors.ts';
import type { KubeClient } from '../kube/client.ts';
import { createEventRecorder } from '../kube/event-recorder.ts';
import type { Logger } from '../logger.ts';
import { reasonOf } from '../ops/readiness.ts';
import type { RecordEvents } from '../reconcilers/ports.ts';
import type { Timers } from '../timers.ts';

export interface OperatorEvents extends RecordEvents {
  /** Says on the Secret of the S3 settings, if there is one, what is wrong or odd about it. */
  readonly tellOfSecret: (error: SnapshotError) => void;
  /** Writes what waits to be written, until the signal fires. */
  flush(signal: AbortSignal): Promise<void>;
}

export interface OperatorEventsParts {
  readonly client: KubeClient;
  readonly program: Program;
  readonly nodeName: string;
  readonly s3: S3Source;
  readonly timers: Timers;
  readonly logger: Logger;
}

/** All that the operator tells people in the cluster. */
export function createOperatorEvents(parts: OperatorEventsParts): OperatorEvents {
  const { client, program, nodeName, s3, timers, logger } = parts;
  const recorder = createEventRecorder({
    client,
    program,
    instance: nodeName,
    timers,
    onWarning: (error) => logger.warn({ reason: error.message }, 'An Event could not be written'),
  });
  return {
    emit: (file, type, reason, message) =>
      recorder.emit({ object: referenceTo(file), type, reason, message }),
    tellOfSecret(error) {
      if (s3.kind !== 'secret') return;
      const object = { apiVersion: 'v1', kind: 'Secret', name: s3.name, namespace: 'kube-system' };
      recorder.emit({ object, type: 'Warning', reason: 'ETCDSnapshotS3Config', message: reasonOf(error) });
    },
    flush: (signal) => recorder.flush(signal),
  };
}

function referenceTo({ apiVersion, kind, metadata }: ETCDSnapshotFile) {
  const { name, uid, resourceVersion } = metadata;
  return { apiVersion, kind, name, uid, resourceVersion };
}
