import { loadS3Secret, type S3FromSecret } from './config/load-s3-secret.ts';
import { ignoredSecret } from './config/s3-source.ts';
import { readTokenHash } from './config/token-file.ts';
import type { Config, S3Source } from './config/types.ts';
import type { ETCDSnapshotFile } from './crds/etcd-snapshot-file.ts';
import { asError, SnapshotError, withBesides } from './errors.ts';
import { createEtcdSource } from './etcd/snapshot-source.ts';
import type { KubeClient } from './kube/client.ts';
import { createRemoval, type Removal } from './removal.ts';
import { maxZipSize, zipOneEntry } from './snapshot/archive.ts';
import { type ListResult, listSnapshots } from './snapshot/list-snapshots.ts';
import type { Clock, SnapshotRecorder, SnapshotStore } from './snapshot/ports.ts';
import {
  type RemoteStore,
  type SaveProgress,
  type SaveResult,
  saveSnapshot,
} from './snapshot/save-snapshot.ts';
import type { Program, Snapshot } from './snapshot/snapshot.ts';
import type { CheckedStep, StoreCheck } from './snapshot/store-check.ts';
import { createLocalStore } from './stores/local-store.ts';
import { s3Location } from './stores/s3-keys.ts';

/** Told what is only worth knowing when something does not work. */
type Tell = (facts: Record<string, unknown>, message: string) => void;

/** Who looks on while a snapshot is taken. */
export interface SaveWatcher {
  readonly onProgress: (progress: SaveProgress) => void;
  /** A copy stands. */
  readonly onStored: (snapshot: Snapshot) => void;
}

/** The commands' view of the whole program. */
export interface App extends AsyncDisposable {
  /** Of `delete` and `prune`. */
  readonly removal: Removal;
  /** What is odd about the settings and does no harm by itself; more may come while S3 is opened. */
  readonly warnings: readonly Error[];
  /** @throws SnapshotError when no copy came to be, or `aborted` */
  save(watcher: SaveWatcher, signal: AbortSignal): Promise<SaveResult>;
  list(signal: AbortSignal): Promise<ListResult & { readonly warnings: readonly Error[] }>;
  /** Every record in the cluster, whichever node keeps the copy. @throws SnapshotError */
  records(signal: AbortSignal): Promise<readonly ETCDSnapshotFile[]>;
  /** Tries what snapshots need of S3. @param onStep told each step as soon as it is done @throws as `checkS3` */
  checkS3(
    onStep: (step: CheckedStep) => void,
    signal: AbortSignal,
  ): Promise<{ readonly check: StoreCheck; readonly warnings: readonly Error[] }>;
}

const systemClock: Clock = { now: () => new Date() };

/**
 * Puts the real parts together. What is heavy (AWS SDK, Kubernetes client) is loaded only when the config asks for it:
 * a save to disk alone should cost neither its start time nor its memory.
 */
export function openApp(config: Config, debug: Tell): App {
  const program = config.distribution === 'rke2' ? 'rke2' : 'k3s';
  const folder = createLocalStore({
    dir: config.snapshotDir,
    isDefaultDir: config.snapshotDirIsDefault,
    nodeName: config.nodeName,
  });
  const warnings: Error[] = [...config.warnings];
  const warn = (warning: Error) => {
    warnings.push(warning);
  };
  const ignored = ignoredSecret(config.s3);
  if (ignored !== undefined) warn(ignored);
  const opened: AsyncDisposable[] = [];
  const cluster = config.kubeconfig === undefined ? undefined : lazyCluster(config.kubeconfig, opened);
  const remote = remoteStore(config, program, opened, cluster, { warn, debug });
  const source = createEtcdSource(config.etcd, systemClock);
  const secretRetention = () => remote?.secretRetention();
  return {
    removal: createRemoval({ config, program, folder, remote, secretRetention, cluster, clock: systemClock }),
    warnings,
    async save({ onProgress, onStored }, signal) {
      const result = await saveSnapshot(
        {
          source,
          folder,
          remote,
          recorder: cluster === undefined ? undefined : lazyRecorder(config, program, cluster, warn),
          tokenHash: (inner) => readTokenHash(config.tokenFile, inner),
          compress: config.compress ? { zip: zipOneEntry, maxSize: maxZipSize } : undefined,
          clock: systemClock,
          onStored,
        },
        { base: config.snapshotName, nodeName: config.nodeName },
        onProgress,
        signal,
      ).catch((error: unknown) => {
        throw withBesides(asError(error), warnings);
      });
      return { ...result, warnings: [...result.warnings, ...warnings] };
    },
    async list(signal) {
      const s3 = remote === undefined ? [] : [() => remote.open(signal)];
      return { ...(await listSnapshots([async () => folder, ...s3], signal)), warnings };
    },
    async records(signal) {
      if (cluster === undefined) throw noKubeconfig('The records of the cluster cannot be listed');
      const [{ readAllRecords }, client] = await Promise.all([
        import('./controllers/snapshot-records.ts'),
        cluster(),
      ]);
      return readAllRecords(client, signal);
    },
    async checkS3(onStep, signal) {
      const [{ checkS3 }, { settings }] = await Promise.all([
        import('./stores/s3-check.ts'),
        s3Settings(config.s3, cluster, warn, signal),
      ]);
      return { check: await checkS3(settings, { onStep, onDebug: debug }, signal), warnings };
    },
    async [Symbol.asyncDispose]() {
      source.close();
      for (const part of opened) await part[Symbol.asyncDispose]();
    },
  };
}

function remoteStore(
  config: Config,
  program: Program,
  opened: AsyncDisposable[],
  cluster: Cluster | undefined,
  tell: { readonly warn: (warning: Error) => void; readonly debug: Tell },
): (RemoteStore & { secretRetention(): number | undefined }) | undefined {
  const { s3: source, nodeName, snapshotDir } = config;
  if (source.kind === 'off') return undefined;
  let settings = source.kind === 'settings' ? source.settings : undefined;
  let retention: number | undefined;
  const load = async (signal: AbortSignal) => {
    const [{ createS3Store }, found] = await Promise.all([
      import('./stores/s3-store.ts'),
      s3Settings(source, cluster, tell.warn, signal),
    ]);
    settings = found.settings;
    retention = found.retention;
    const s3 = createS3Store(found.settings, {
      program,
      nodeName,
      journalDir: snapshotDir,
      onDebug: tell.debug,
    });
    opened.push({ [Symbol.asyncDispose]: async () => s3[Symbol.dispose]() });
    return s3;
  };
  let store: Promise<SnapshotStore> | undefined;
  return {
    open: (signal) => {
      store ??= load(signal);
      return store;
    },
    location: (name) => (settings === undefined ? undefined : s3Location(settings, name)),
    secretRetention: () => retention,
  };
}

/** @throws SnapshotError when they are in a Secret that cannot be read or used */
async function s3Settings(
  source: S3Source,
  cluster: Cluster | undefined,
  warn: (warning: Error) => void,
  signal: AbortSignal,
): Promise<Pick<S3FromSecret, 'settings' | 'retention'>> {
  if (source.kind === 'settings') return { settings: source.settings, retention: undefined };
  if (source.kind === 'off') throw new SnapshotError('usage', 'S3 is off', { hint: 'Add --s3.' });
  const { name } = source;
  if (cluster === undefined) {
    const what = `The settings of S3 cannot be read from Secret kube-system/${name}`;
    throw noKubeconfig(what, ', or give the settings of S3 as flags');
  }
  const [{ createSecretsApi }, client] = await Promise.all([import('./kube/secrets-api.ts'), cluster()]);
  const found = await loadS3Secret(createSecretsApi(client), name, signal);
  found.warnings.forEach(warn);
  return found;
}

function noKubeconfig(what: string, orElse = ''): SnapshotError {
  return new SnapshotError('usage', what, {
    why: 'no kubeconfig is given, and this node has none of its own',
    hint: `Name one with --kubeconfig${orElse}.`,
  });
}

/** One connection for all that asks; what is wrong with the kubeconfig is told to each of them. */
type Cluster = () => Promise<KubeClient>;

function lazyCluster(kubeconfig: string, opened: AsyncDisposable[]): Cluster {
  let client: Promise<KubeClient> | undefined;
  const load = async () => {
    const { connect } = await import('./kube/client.ts');
    const connected = await connect(kubeconfig);
    opened.push(connected);
    return connected;
  };
  return () => {
    client ??= load();
    return client;
  };
}

/**
 * The Kubernetes client is loaded while the snapshot already streams. What is wrong with a kubeconfig shows as a record
 * that could not be made, which the save reports as a warning: the snapshot does not depend on it.
 */
function lazyRecorder(
  config: Config,
  program: Program,
  cluster: Cluster,
  onWarning: (warning: Error) => void,
): SnapshotRecorder {
  const load = async (): Promise<SnapshotRecorder> => {
    const [{ createKubeRecorder }, client] = await Promise.all([
      import('./kube/snapshot-recorder.ts'),
      cluster(),
    ]);
    return createKubeRecorder(client, { program, nodeName: config.nodeName, onWarning });
  };
  let recorder: Promise<SnapshotRecorder> | undefined;
  const loaded = () => {
    recorder ??= load();
    return recorder;
  };
  return {
    facts: (signal) =>
      loaded().then(
        (real) => real.facts(signal),
        () => ({}),
      ),
    record: async (snapshot, signal) => (await loaded()).record(snapshot, signal),
  };
}
