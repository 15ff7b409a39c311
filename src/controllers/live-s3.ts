import {
  type ConfigMapContent,
  parseS3Secret,
  type SecretContent,
  unusableSecret,
} from '../config/s3-secret.ts';
import type { S3Settings, S3Source } from '../config/types.ts';
import { SnapshotError } from '../errors.ts';
import type { S3Ready, S3View } from '../reconcilers/ports.ts';

/** What settings open. */
type OpenedS3 = Omit<S3Ready, 'state' | 'retention' | 'outdated'>;

export interface LiveS3Options {
  readonly source: S3Source;
  /** Of the flags; beats that of the Secret. */
  readonly retention: number | undefined;
  readonly defaultRetention: number;
  /** A store with these settings; called once for each change of them. @throws SnapshotError */
  open(settings: S3Settings): OpenedS3;
  /** After each change of what `view` gives, and gave before. */
  onChange(view: S3View, before: S3View): void;
  /** What is odd about the Secret and does no harm by itself. */
  onNotes(notes: readonly SnapshotError[]): void;
}

/** The settings of S3 as they are at this moment: fixed by flags, or those of a Secret that may change at any time. */
export interface LiveS3 {
  view(): S3View;
  /** The Secret as it is now; undefined: there is none. */
  secret(content: SecretContent | undefined): void;
  /** The ConfigMap with CA bundles that the Secret names. */
  caConfigMap(content: ConfigMapContent | undefined): void;
  /** The Secret cannot be watched, and what it says is not known. */
  unreadable(error: SnapshotError): void;
  /** The ConfigMap to watch, by the Secret as it is now. */
  caConfigMapName(): string | undefined;
}

export function createLiveS3(options: LiveS3Options): LiveS3 {
  const { source, defaultRetention } = options;
  let secret: SecretContent | undefined;
  let configMap: ConfigMapContent | undefined;
  let opened: { readonly from: string; readonly s3: OpenedS3; readonly over: AbortController } | undefined;

  const close = () => {
    opened?.over.abort(new SnapshotError('aborted', 'The settings of S3 have changed'));
    opened = undefined;
  };
  const ready = (settings: S3Settings, retention: number | undefined): S3View => {
    try {
      // Compared by what they were read from: two keys that are hidden from dumps would compare as equal.
      const from = JSON.stringify([secret?.data, configMap?.data, configMap?.binaryData]);
      if (opened?.from !== from) {
        close();
        opened = { from, s3: options.open(settings), over: new AbortController() };
      }
      const keep = options.retention ?? retention ?? defaultRetention;
      return { state: 'ready', ...opened.s3, outdated: opened.over.signal, retention: keep };
    } catch (error) {
      if (!(error instanceof SnapshotError)) throw error;
      return { state: 'unavailable', error };
    }
  };
  const initial = (): S3View => {
    if (source.kind === 'off') return { state: 'off' };
    if (source.kind === 'settings') return ready(source.settings, undefined);
    return {
      state: 'unavailable',
      error: new SnapshotError('unavailable', `Secret kube-system/${source.name} has not been read yet`, {
        hint: 'Wait for the API server.',
        retryable: true,
      }),
    };
  };
  let view = initial();

  const change = (to: S3View) => {
    const before = view;
    view = to;
    if (to.state !== 'ready') close();
    options.onChange(view, before);
  };
  const evaluate = () => {
    if (source.kind !== 'secret') return;
    if (secret === undefined) {
      change({ state: 'unavailable', error: noSecret(source.name) });
      return;
    }
    const parsed = parseS3Secret(secret, configMap);
    options.onNotes(
      parsed.notes.map(({ what, cure }) => new SnapshotError('usage', what, { hint: `${cure}.` })),
    );
    change(
      parsed.settings === undefined
        ? { state: 'unavailable', error: unusableSecret(source.name, parsed.problems) }
        : ready(parsed.settings, parsed.retention),
    );
  };
  return {
    view: () => view,
    secret(content) {
      secret = content;
      evaluate();
    },
    caConfigMap(content) {
      configMap = content;
      evaluate();
    },
    unreadable(error) {
      // What was read once stays in force while the API server is away.
      if (view.state !== 'ready') change({ state: 'unavailable', error });
    },
    caConfigMapName: () =>
      secret === undefined ? undefined : parseS3Secret(secret, undefined).caConfigMapName,
  };
}

function noSecret(name: string): SnapshotError {
  return new SnapshotError('not-found', `The settings of S3 cannot be read from Secret kube-system/${name}`, {
    why: 'there is no such Secret',
    hint: 'Make it (type etcd.k3s.cattle.io/s3-config-secret); it is taken up at once.',
    retryable: true,
  });
}
