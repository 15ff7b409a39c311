import {
  CA_NAME_KEY,
  type ConfigMapContent,
  parseS3Secret,
  SECRET_TYPE,
  type SecretContent,
  unusableSecret,
} from '../config/s3-secret.ts';
import type { S3Settings, S3Source } from '../config/types.ts';
import type { S3Place } from '../crds/claim.ts';
import { SnapshotError } from '../errors.ts';
import type { S3Ready, S3View } from '../reconcilers/ports.ts';

/** What settings open. */
export interface OpenedS3 extends Omit<S3Ready, 'state' | 'retention' | 'outdated' | 'ruledSince'> {
  /** Other settings have come: ends the connections once nothing goes over them any more. */
  readonly retire: () => void;
}

/** What is known of the ConfigMap of that name. */
interface Bundles {
  readonly name: string;
  readonly known: boolean;
  readonly content?: ConfigMapContent | undefined;
  readonly error?: SnapshotError;
}

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
  now(): Date;
}

/** The settings of S3 as they are at this moment: fixed by flags, or those of a Secret that may change at any time. */
export interface LiveS3 {
  view(): S3View;
  /** The Secret as it is now; undefined: there is none. */
  secret(content: SecretContent | undefined): void;
  /** The ConfigMap of that name with CA bundles, as it is now; undefined: there is none. */
  caConfigMap(name: string, content: ConfigMapContent | undefined): void;
  /** The ConfigMap of that name cannot be watched, and what it says is not known. */
  caUnreadable(name: string, error: SnapshotError): void;
  /** The Secret cannot be watched, and what it says is not known. */
  unreadable(error: SnapshotError): void;
  /** The ConfigMap to watch, by the Secret as it is now. */
  caConfigMapName(): string | undefined;
}

export function createLiveS3(options: LiveS3Options): LiveS3 {
  const { source, defaultRetention } = options;
  let secret: SecretContent | undefined;
  let bundles: Bundles | undefined;
  let opened: { readonly from: string; readonly s3: OpenedS3; readonly over: AbortController } | undefined;
  let rule: { readonly of: string; readonly since: Date } | undefined;

  /** Since when nothing has changed that says what is past retention. */
  const ruledSince = ({ endpoint, bucket, prefix }: S3Place, keep: number): Date => {
    const of = JSON.stringify([endpoint, bucket, prefix, keep]);
    if (rule?.of !== of) rule = { of, since: options.now() };
    return rule.since;
  };
  const close = () => {
    opened?.over.abort(new SnapshotError('aborted', 'The settings of S3 have changed'));
    opened?.s3.retire();
    opened = undefined;
  };
  const ready = (settings: S3Settings, retention: number | undefined): S3View => {
    try {
      // Compared by what they were read from: two keys that are hidden from dumps would compare as equal.
      const from = JSON.stringify([secret?.data, bundles?.content?.data, bundles?.content?.binaryData]);
      if (opened?.from !== from) {
        close();
        opened = { from, s3: options.open(settings), over: new AbortController() };
      }
      const keep = options.retention ?? retention ?? defaultRetention;
      const { retire: _, ...s3 } = opened.s3;
      return {
        state: 'ready',
        ...s3,
        outdated: opened.over.signal,
        retention: keep,
        ruledSince: ruledSince(s3.place, keep),
      };
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
      error: notRead(`Secret kube-system/${source.name}`),
    };
  };
  let view = initial();

  const change = (to: S3View) => {
    const before = view;
    view = to;
    if (to.state !== 'ready') close();
    options.onChange(view, before);
  };
  const caConfigMapName = () =>
    secret === undefined ? undefined : parseS3Secret(secret, undefined).caConfigMapName;
  const evaluate = () => {
    if (source.kind !== 'secret') return;
    if (secret === undefined) {
      change({ state: 'unavailable', error: noSecret(source.name) });
      return;
    }
    const name = caConfigMapName();
    const named = bundles?.name === name ? bundles : undefined;
    // Before its bundles are known a client would be refused for a certificate that is in order.
    if (name !== undefined && named?.known !== true) {
      change({ state: 'unavailable', error: named?.error ?? notRead(`ConfigMap kube-system/${name}`) });
      return;
    }
    const parsed = parseS3Secret(secret, named?.content);
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
    caConfigMap(name, content) {
      bundles = { name, known: true, content };
      evaluate();
    },
    caUnreadable(name, error) {
      if (bundles?.name === name && bundles.known) return;
      bundles = { name, known: false, error: unreadableBundles(name, error) };
      evaluate();
    },
    unreadable(error) {
      // What was read once stays in force while the API server is away.
      if (view.state !== 'ready') change({ state: 'unavailable', error });
    },
    caConfigMapName,
  };
}

function notRead(what: string): SnapshotError {
  return new SnapshotError('unavailable', `${what} has not been read yet`, {
    hint: 'Wait for the API server.',
    retryable: true,
  });
}

function unreadableBundles(name: string, error: SnapshotError): SnapshotError {
  const what = `ConfigMap kube-system/${name}, which ${CA_NAME_KEY} names, cannot be read`;
  return new SnapshotError(error.code, what, {
    why: error.why ?? error.message,
    hint:
      error.code === 'forbidden'
        ? 'Call it etcd-snapshot-s3-ca, the one that deploy/rbac.yaml allows, or add its name there.'
        : (error.hint ?? 'Wait for the API server.'),
    retryable: error.retryable,
    cause: error,
  });
}

function noSecret(name: string): SnapshotError {
  return new SnapshotError('not-found', `The settings of S3 cannot be read from Secret kube-system/${name}`, {
    why: 'there is no such Secret',
    hint: `Make it (type ${SECRET_TYPE}); it is taken up at once.`,
    retryable: true,
  });
}
