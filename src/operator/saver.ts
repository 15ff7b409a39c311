import { readTokenHash } from '../config/token-file.ts';
import type { Config } from '../config/types.ts';
import { abortError, asError, isSnapshotError, SnapshotError } from '../errors.ts';
import { createEtcdSource } from '../etcd/snapshot-source.ts';
import type { Logger } from '../logger.ts';
import type { S3View } from '../reconcilers/ports.ts';
import { maxZipSize, zipOneEntry } from '../snapshot/archive.ts';
import { buildSnapshotName, snapshotTime } from '../snapshot/naming.ts';
import type { SnapshotDraft, SnapshotFolder, SnapshotRecorder, SnapshotSource } from '../snapshot/ports.ts';
import { type RemoteStore, type SaveResult, saveSnapshot } from '../snapshot/save-snapshot.ts';
import type { SnapshotLocation } from '../snapshot/snapshot.ts';
import type { Timers } from '../timers.ts';
import { watchStreams, watchUploads } from './save-outcomes.ts';

export interface SaverParts {
  readonly config: Config;
  readonly folder: SnapshotFolder;
  readonly recorder: SnapshotRecorder;
  readonly s3View: () => S3View;
  readonly timers: Timers;
  /** How long each part of a save took, from its beginning. */
  readonly observe: (what: 'save' | 'save_local' | 'save_s3', seconds: number, ok: boolean) => void;
  /** What came of the stream from etcd. */
  readonly onStreamed: (error: SnapshotError | undefined) => void;
  /** What came of an upload with the settings of S3 that are in force; nothing where it had no whole snapshot to upload. */
  readonly onUploaded: (error: SnapshotError | undefined) => void;
  readonly logger: Pick<Logger, 'warn'>;
}

export interface Saver {
  /**
   * Takes a snapshot to the disk and to what S3 is now. That S3 is asked for and cannot be used is a failure in the result.
   * @throws SnapshotError when there is no copy anywhere
   */
  save(signal: AbortSignal): Promise<SaveResult>;
  /** Asks the member whether it could serve a snapshot. @throws SnapshotError what is wrong with it */
  checkEtcd(signal: AbortSignal): Promise<void>;
  /** Removes what dead saves of this node left on disk and on S3; a save that runs does so by itself. @throws SnapshotError */
  tidyUp(signal: AbortSignal): Promise<readonly string[]>;
}

/** So long may the end of a snapshot that had to be given up take to be recorded. */
const LAST_WORDS_MS = 5_000;

/** Saves as the command line does, again and again: connection, certificates, token and S3 are taken anew for each. */
export function createSaver(parts: SaverParts): Saver {
  const { config, folder, recorder, s3View, timers } = parts;
  const withSource = async <T>(work: (source: SnapshotSource) => Promise<T>): Promise<T> => {
    const source = createEtcdSource(config.etcd, timers);
    try {
      return await work(source);
    } finally {
      source.close();
    }
  };
  let tidying: { readonly over: AbortController; readonly done: Promise<unknown> } | undefined;
  let saves = 0;
  const save = async (signal: AbortSignal): Promise<SaveResult> => {
    saves += 1;
    try {
      // It holds the folder, perhaps for as long as S3 is slow; and the save tidies up itself.
      tidying?.over.abort();
      await tidying?.done;
      return await saveNow(signal);
    } finally {
      saves -= 1;
    }
  };
  const saveNow = async (signal: AbortSignal): Promise<SaveResult> => {
    const stopwatch = startStopwatch(parts);
    const request = { base: config.snapshotName, nodeName: config.nodeName };
    const begun = timers.now();
    const stored = new Set<'local' | 's3'>();
    const view = s3View();
    const onUploaded = (error: SnapshotError | undefined) => {
      if (view.state === 'ready' && !view.outdated.aborted) parts.onUploaded(error);
    };
    const remote =
      view.state === 'ready'
        ? stopwatch.remote(
            watchUploads({ open: async () => view.store, location: view.location }, onUploaded),
          )
        : undefined;
    return withSource((source) =>
      stopwatch.whole(async () => {
        const result = await saveSnapshot(
          {
            source: watchStreams(source, parts.onStreamed),
            folder: stopwatch.folder(folder),
            remote,
            recorder,
            tokenHash: (inner) => readTokenHash(config.tokenFile, inner),
            compress: config.compress ? { zip: zipOneEntry, maxSize: maxZipSize } : undefined,
            clock: { now: () => begun },
            onStored: ({ location }) => stored.add(location.store),
          },
          request,
          () => {},
          signal,
        ).catch(async (error: unknown) => {
          if (signal.aborted) await recordAborted(parts, { ...request, begun, stored, view, signal });
          // Its answers came, and were such that no snapshot could be made of them.
          if (isSnapshotError(error, 'learner', 'corrupt')) parts.onStreamed(error);
          throw error;
        });
        if (result.created.length > 0) parts.onStreamed(undefined);
        if (view.state !== 'unavailable') return result;
        return { ...result, failures: [...result.failures, view.error] };
      }),
    );
  };
  const tidy = async (signal: AbortSignal): Promise<readonly string[]> => {
    await using lock = await folder.lock(signal);
    void lock;
    const view = s3View();
    const onDisk = await folder.sweep(signal);
    if (view.state !== 'ready') return onDisk;
    return [...onDisk, ...(await view.store.sweep(AbortSignal.any([signal, view.outdated])))];
  };
  return {
    save,
    checkEtcd: (signal) =>
      withSource(async (source) => {
        const { endpoint, isLearner, leaderId, errors } = await source.status(signal);
        if (isLearner) throw unfit(endpoint, 'it is a learner, which cannot take snapshots');
        if (leaderId === '0') throw unfit(endpoint, 'it knows no leader');
        if (errors.length > 0) throw unfit(endpoint, errors.join(', '));
      }),
    async tidyUp(signal) {
      // Between the two it would take the folder away from a save that is about to take it.
      if (saves > 0) return [];
      const over = new AbortController();
      const work = tidy(AbortSignal.any([signal, over.signal]));
      tidying = { over, done: Promise.allSettled([work]) };
      try {
        return await work;
      } catch (error) {
        // A save goes first, and other settings of S3 ask for another look by themselves.
        if (isSnapshotError(error, 'busy') || over.signal.aborted) return [];
        if (isSnapshotError(error, 'aborted') && !signal.aborted) return [];
        throw error;
      } finally {
        tidying = undefined;
      }
    },
  };
}

interface AbortedSave {
  readonly base: string;
  readonly nodeName: string;
  readonly begun: Date;
  /** Where there are copies, which stay. */
  readonly stored: ReadonlySet<'local' | 's3'>;
  readonly view: S3View;
  readonly signal: AbortSignal;
}

/** What was given up is a failed snapshot like any other: whoever looks for it finds the reason. */
async function recordAborted({ config, recorder, logger }: SaverParts, save: AbortedSave): Promise<void> {
  const { base, nodeName, stored, view, signal } = save;
  const createdAt = snapshotTime(save.begun);
  const name = buildSnapshotName({ base, nodeName, createdAt, compressed: config.compress });
  const { message, why } = abortError(signal);
  const failure = { time: createdAt, message: why === undefined ? message : `${message}: ${why}` };
  const missing: SnapshotLocation[] = [];
  if (!stored.has('local')) missing.push({ store: 'local', path: '' });
  else if (view.state === 'ready' && !stored.has('s3')) missing.push(view.location(name));
  const soon = AbortSignal.timeout(LAST_WORDS_MS);
  for (const location of missing) {
    const failed = { name, nodeName, createdAt, compressed: config.compress, size: 0, location, failure };
    await recorder.record(failed, soon).catch((error: unknown) => {
      logger.warn({ reason: asError(error).message }, 'A snapshot that was given up has no record');
    });
  }
}

/** The parts of one save, each of which tells how long it took when it is over. */
function startStopwatch({ timers, observe }: SaverParts) {
  const began = timers.monotonic();
  let diskIsOver = false;
  const over = (what: 'save' | 'save_local' | 'save_s3', ok: boolean) =>
    observe(what, (timers.monotonic() - began) / 1000, ok);
  const diskOver = (ok: boolean) => {
    if (!diskIsOver) over('save_local', ok);
    diskIsOver = true;
  };
  const timed = async <T>(work: Promise<T>, done: (ok: boolean) => void): Promise<T> => {
    let ok = false;
    try {
      const result = await work;
      ok = true;
      return result;
    } finally {
      done(ok);
    }
  };
  return {
    async whole(work: () => Promise<SaveResult>): Promise<SaveResult> {
      let ok = false;
      try {
        const result = await work();
        ok = result.failures.length === 0;
        return result;
      } finally {
        diskOver(false);
        over('save', ok);
      }
    },
    folder(folder: SnapshotFolder): SnapshotFolder {
      const draftOf = (draft: SnapshotDraft): SnapshotDraft => ({
        expectedSize: draft.expectedSize,
        proven: draft.proven,
        write: (chunks) => draft.write(chunks),
        read: (into, position, signal) => draft.read(into, position, signal),
        prove: () => draft.prove(),
        commit: (facts, inner) => timed(draft.commit(facts, inner), diskOver),
        discard: (reason) => draft.discard(reason),
        [Symbol.asyncDispose]: () => draft[Symbol.asyncDispose](),
      });
      return { ...folder, create: async (snapshot) => draftOf(await folder.create(snapshot)) };
    },
    remote(remote: RemoteStore): RemoteStore {
      return {
        ...remote,
        async open(signal) {
          const store = await remote.open(signal);
          return {
            ...store,
            put: (upload, inner) => timed(store.put(upload, inner), (ok) => over('save_s3', ok)),
          };
        },
      };
    },
  };
}

function unfit(endpoint: string, why: string): SnapshotError {
  return new SnapshotError('unavailable', `etcd at ${endpoint} is not in good order`, {
    why,
    hint: 'Look at it with etcdctl endpoint status and etcdctl alarm list.',
    retryable: true,
  });
}
