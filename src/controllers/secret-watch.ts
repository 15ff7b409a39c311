import type { ConfigMapContent, SecretContent } from '../config/s3-secret.ts';
import type { SnapshotError } from '../errors.ts';
import type { KubeClient } from '../kube/client.ts';
import { type ReflectorState, startReflector } from '../kube/reflector.ts';
import type { Timers } from '../timers.ts';
import type { LiveS3 } from './live-s3.ts';

export interface SecretWatchOptions {
  readonly client: Pick<KubeClient, 'request' | 'watch'>;
  /** Name of the Secret in kube-system. */
  readonly secret: string;
  readonly live: LiveS3;
  readonly timers: Timers;
  readonly random: () => number;
  readonly signal: AbortSignal;
}

interface RawObject {
  readonly metadata: { readonly name: string; readonly resourceVersion?: string; readonly uid?: string };
  readonly type?: string;
  readonly data?: Readonly<Record<string, string>>;
  readonly binaryData?: Readonly<Record<string, string>>;
}

/**
 * Watches the one Secret that holds the settings of S3, and the one ConfigMap that it names, each by its name, so that
 * the rights for it can be given by name too. Resolves when `signal` has fired and nothing is open any more.
 */
export async function watchS3Secret(options: SecretWatchOptions): Promise<void> {
  const { live, signal } = options;
  let bundle:
    | { readonly name: string; readonly over: AbortController; readonly done: Promise<void> }
    | undefined;

  const followBundle = () => {
    const name = live.caConfigMapName();
    if (name === bundle?.name) return;
    bundle?.over.abort();
    bundle = undefined;
    if (name === undefined) return;
    const over = new AbortController();
    const done = watchOne(options, 'configmaps', name, AbortSignal.any([signal, over.signal]), {
      onObject: (raw) => live.caConfigMap(name, raw === undefined ? undefined : toConfigMap(raw)),
      onError: (error) => live.caUnreadable(name, error),
    });
    bundle = { name, over, done };
  };
  await watchOne(options, 'secrets', options.secret, signal, {
    onObject(raw) {
      live.secret(raw === undefined ? undefined : toSecret(raw));
      followBundle();
    },
    onError: (error) => live.unreadable(error),
  });
  await bundle?.done;
}

interface Told {
  /** Undefined: there is no such object. */
  onObject(raw: RawObject | undefined): void;
  onError(error: SnapshotError): void;
}

async function watchOne(
  options: SecretWatchOptions,
  kind: 'secrets' | 'configmaps',
  name: string,
  signal: AbortSignal,
  told: Told,
): Promise<void> {
  let known = false;
  const reflector = startReflector<RawObject, RawObject>({
    client: options.client,
    path: `/api/v1/namespaces/kube-system/${kind}`,
    fieldSelector: `metadata.name=${name}`,
    transform: (raw) => raw,
    timers: options.timers,
    random: options.random,
    onChange(_name, now) {
      known = true;
      told.onObject(now);
    },
    onState(state: ReflectorState) {
      // An empty listing is told by no change, and means that there is none.
      if (state.synced && !known) told.onObject(undefined);
      if (state.error !== undefined) told.onError(state.error);
      known ||= state.synced;
    },
    signal,
  });
  await reflector.stopped;
}

function toSecret(raw: RawObject): SecretContent {
  const type = raw.type === undefined ? {} : { type: raw.type };
  return { name: raw.metadata.name, ...type, data: raw.data ?? {} };
}

function toConfigMap(raw: RawObject): ConfigMapContent {
  return { name: raw.metadata.name, data: raw.data ?? {}, binaryData: raw.binaryData ?? {} };
}
