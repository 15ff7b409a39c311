import { readFile } from 'node:fs/promises';
import { tokenHash } from './config/token.ts';
import type { Config, S3Settings } from './config/types.ts';
import { SnapshotError, systemCode } from './errors.ts';
import { createEtcdSource } from './etcd/snapshot-source.ts';
import { maxZipSize, zipOneEntry } from './snapshot/archive.ts';
import { type ListResult, listSnapshots } from './snapshot/list-snapshots.ts';
import type { Clock, SnapshotRecorder, SnapshotStore } from './snapshot/ports.ts';
import {
  type RemoteStore,
  type SaveProgress,
  type SaveResult,
  saveSnapshot,
} from './snapshot/save-snapshot.ts';
import type { Program } from './snapshot/snapshot.ts';
import { createLocalStore } from './stores/local-store.ts';
import { s3Location } from './stores/s3-keys.ts';

/** The commands' view of the whole program. */
export interface App extends AsyncDisposable {
  /** @throws SnapshotError when no copy came to be, or `aborted` */
  save(onProgress: (progress: SaveProgress) => void, signal: AbortSignal): Promise<SaveResult>;
  list(signal: AbortSignal): Promise<ListResult>;
}

const systemClock: Clock = { now: () => new Date() };

/**
 * Puts the real parts together. What is heavy (AWS SDK, Kubernetes client) is loaded only when the config asks for it:
 * a save to disk alone should cost neither its start time nor its memory.
 */
export function openApp(config: Config): App {
  const program = config.distribution === 'rke2' ? 'rke2' : 'k3s';
  const folder = createLocalStore({
    dir: config.snapshotDir,
    isDefaultDir: config.snapshotDirIsDefault,
    nodeName: config.nodeName,
  });
  const opened: AsyncDisposable[] = [];
  const remote = config.s3 === undefined ? undefined : remoteStore(config.s3, config, program, opened);
  const source = createEtcdSource(config.etcd, systemClock);
  return {
    async save(onProgress, signal) {
      const warnings: Error[] = [];
      const result = await saveSnapshot(
        {
          source,
          folder,
          remote,
          recorder: lazyRecorder(config, program, opened, (warning) => warnings.push(warning)),
          tokenHash: () => readTokenHash(config.tokenFile),
          compress: config.compress ? { zip: zipOneEntry, maxSize: maxZipSize } : undefined,
          clock: systemClock,
        },
        { base: config.snapshotName, nodeName: config.nodeName },
        onProgress,
        signal,
      );
      return { ...result, warnings: [...result.warnings, ...warnings] };
    },
    list: (signal) =>
      listSnapshots([async () => folder, ...(remote === undefined ? [] : [() => remote.open()])], signal),
    async [Symbol.asyncDispose]() {
      source.close();
      for (const part of opened) await part[Symbol.asyncDispose]();
    },
  };
}

function remoteStore(
  settings: S3Settings,
  config: Config,
  program: Program,
  opened: AsyncDisposable[],
): RemoteStore {
  let store: Promise<SnapshotStore> | undefined;
  const load = async () => {
    const { createS3Store } = await import('./stores/s3-store.ts');
    const options = { program, nodeName: config.nodeName, journalDir: config.snapshotDir };
    const s3 = createS3Store(settings, options);
    opened.push({ [Symbol.asyncDispose]: async () => s3[Symbol.dispose]() });
    return s3;
  };
  return {
    open: () => {
      store ??= load();
      return store;
    },
    location: (name) => s3Location(settings, name),
  };
}

/**
 * The Kubernetes client is loaded while the snapshot already streams. What is wrong with a kubeconfig shows as a record
 * that could not be made, which the save reports as a warning: the snapshot does not depend on it.
 */
function lazyRecorder(
  config: Config,
  program: Program,
  opened: AsyncDisposable[],
  onWarning: (warning: Error) => void,
): SnapshotRecorder | undefined {
  const { kubeconfig } = config;
  if (kubeconfig === undefined) return undefined;
  const load = async (): Promise<SnapshotRecorder> => {
    const [{ connect }, { createKubeRecorder }] = await Promise.all([
      import('./kube/client.ts'),
      import('./kube/snapshot-recorder.ts'),
    ]);
    const client = await connect(kubeconfig);
    opened.push(client);
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

/** Undefined where the distribution has no server token, or this node has none yet. */
async function readTokenHash(path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined;
  let token: string;
  try {
    token = await readFile(path, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw new SnapshotError('io', `Cannot read the server token ${path}`, {
      cause: error,
      hint: 'The snapshot has no token hash; run as a user who may read the token.',
    });
  }
  return tokenHash(token);
}
