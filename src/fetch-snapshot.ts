import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { basename, join, posix, resolve } from 'node:path';
import type { Config, S3Settings } from './config/types.ts';
import { SnapshotError } from './errors.ts';
import type { SaveProgress } from './snapshot/save-snapshot.ts';
import type { Snapshot } from './snapshot/snapshot.ts';
import { makeFolder } from './stores/atomic-write.ts';
import { s3Url, snapshotKey } from './stores/s3-keys.ts';

/** Where a snapshot that was named is. */
export type Whereabouts =
  | { readonly store: 'local'; readonly path: string }
  | { readonly store: 's3'; readonly settings: S3Settings; readonly name: string; readonly url: string };

/**
 * `s3://bucket/key` is an object, and a word with a slash a path. A plain name is an object when S3 is switched on by hand, as for
 * `k3s server`; when only a config file does it, what is in the snapshot folder or the working directory comes first: it needs
 * no S3 to be restored.
 * @throws SnapshotError `usage` when it could be either of two files, or the settings of S3 are out of reach
 */
export async function locate(given: string, config: Config): Promise<Whereabouts> {
  const isUrl = given.startsWith('s3://');
  if (!isUrl && (given.includes('/') || config.s3.kind === 'off')) {
    return { store: 'local', path: await pathOf(given, config.snapshotDir) };
  }
  if (!isUrl && !config.s3Typed && (await isHere(given, config.snapshotDir))) {
    return { store: 'local', path: await pathOf(given, config.snapshotDir) };
  }
  if (config.s3.kind !== 'settings') {
    throw new SnapshotError('usage', 'The settings of S3 cannot be read from a Secret here', {
      why: 'the API server that would give the Secret is not there while its cluster is restored',
      hint: 'Give the settings of S3 as flags: --s3-endpoint, --s3-bucket, --s3-folder; keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.',
    });
  }
  const key = isUrl ? given.slice('s3://'.length).split('/').slice(1).join('/') : given;
  const folder = posix.dirname(key);
  const settings = isUrl
    ? { ...config.s3.settings, folder: folder === '.' ? '' : folder }
    : config.s3.settings;
  const name = basename(key);
  return { store: 's3', settings, name, url: s3Url(settings, snapshotKey(settings, name)) };
}

/** What S3 knows of a snapshot, without its bytes. @throws SnapshotError `not-found`, and what S3 gives */
export async function lookUp(
  where: Extract<Whereabouts, { store: 's3' }>,
  config: Config,
  signal: AbortSignal,
): Promise<Snapshot> {
  using store = await openStore(where, config);
  const found = await store.stat(where.name, signal);
  if (found !== undefined) return found;
  throw new SnapshotError('not-found', `There is no snapshot ${where.url}`, {
    hint: 'List what there is with "etcd-snapshot ls --s3".',
  });
}

/** Who looks on while a snapshot is fetched. */
export interface FetchWatcher {
  readonly progress: { show(progress: SaveProgress): void; clear(): void };
  /** What did not work and does not make the file worse. */
  readonly warn: (warnings: readonly Error[]) => void;
}

/** Fetches it into `folder`, which is made when it is missing, and returns the path. @throws as `SnapshotDownloader` */
export async function download(
  where: Extract<Whereabouts, { store: 's3' }>,
  folder: string,
  config: Config,
  { progress, warn }: FetchWatcher,
  signal: AbortSignal,
): Promise<string> {
  using store = await openStore(where, config);
  await makeFolder(folder);
  const { name } = where;
  const path = join(folder, name);
  const onProgress = (bytes: number, total: number) => progress.show({ store: 's3', bytes, total });
  const { warnings } = await store
    .download({ name, path, onProgress }, signal)
    .finally(() => progress.clear());
  warn(warnings);
  return path;
}

async function openStore(
  { settings }: Extract<Whereabouts, { store: 's3' }>,
  { distribution, nodeName }: Config,
) {
  const { createS3Store } = await import('./stores/s3-store.ts');
  return createS3Store(settings, { program: distribution === 'rke2' ? 'rke2' : 'k3s', nodeName });
}

async function pathOf(given: string, snapshotDir: string): Promise<string> {
  const here = resolve(given);
  if (given.includes('/')) return here;
  const inFolder = join(snapshotDir, given);
  if (here === inFolder || !(await exists(inFolder))) return here;
  if (!(await exists(here))) return inFolder;
  const [one, other] = await Promise.all([stat(here), stat(inFolder)]);
  if (one.dev === other.dev && one.ino === other.ino) return inFolder;
  throw new SnapshotError('usage', `${given} could be either of two files`, {
    why: `there is ${inFolder}, and ${here} in the working directory`,
    hint: 'Give the path of the one that is meant.',
  });
}

async function isHere(name: string, snapshotDir: string): Promise<boolean> {
  return (await exists(join(snapshotDir, name))) || exists(resolve(name));
}

function exists(path: string): Promise<boolean> {
  return access(path, constants.F_OK).then(
    () => true,
    () => false,
  );
}
