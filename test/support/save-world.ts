import { createHash } from 'node:crypto';
import { abortError } from '../../src/errors.ts';
import type { SnapshotDraft, SnapshotFolder, SnapshotStore } from '../../src/snapshot/ports.ts';
import type { SaveParts } from '../../src/snapshot/save-snapshot.ts';
import type { S3Location, Snapshot } from '../../src/snapshot/snapshot.ts';

const database = Buffer.alloc(4096, 'kv');
export const whole = Buffer.concat([database, createHash('sha256').update(database).digest()]);
const now = new Date('2024-10-30T17:20:15.700Z');
export const name = 'on-demand-k3s-server-1-1730308816';
const BATCH = 1000;

export function s3Location(key: string): S3Location {
  return {
    store: 's3',
    endpoint: 'e',
    region: 'r',
    bucket: 'b',
    prefix: '',
    key,
    skipSSLVerify: false,
    insecure: false,
  };
}

type Step =
  | 'lock'
  | 'sweep'
  | 'status'
  | 'batch'
  | 'commit'
  | 'discard'
  | 'close'
  | 'open s3'
  | 'upload'
  | 'sweep s3'
  | 'record';

export interface SaveWorldOptions {
  readonly bytes?: Buffer;
  readonly learner?: boolean;
  readonly complaints?: readonly string[];
  /** What happens at the beginning of a step, instead of nothing; one that throws lets the step fail. */
  readonly at?: Partial<Record<Step, (signal: AbortSignal) => void | Promise<void>>>;
  /** What comes with the copy on S3. */
  readonly warnings?: readonly Error[];
}

const never = new AbortController().signal;

/**
 * Everything a save touches, in memory, with a diary of what is done in which order. The upload reads the file to its end, as a
 * store does.
 */
export function saveWorld(options: SaveWorldOptions = {}) {
  const diary: string[] = [];
  const recorded: Snapshot[] = [];
  const unused = () => Promise.reject(new Error('not part of saving'));
  const at = async (step: Step, signal = never) => options.at?.[step]?.(signal);
  const draftOf = (identity: { name: string }): SnapshotDraft => {
    let written = Buffer.alloc(0);
    let end: number | Error | undefined;
    let change = Promise.withResolvers<void>();
    const tell = () => {
      change.resolve();
      change = Promise.withResolvers();
    };
    const { promise: proven, resolve, reject } = Promise.withResolvers<number>();
    proven.catch(() => diary.push('proof refused'));
    return {
      expectedSize: whole.length,
      proven,
      async read(into, position, signal) {
        const aborted = new Promise<void>((done) => signal.addEventListener('abort', () => done()));
        while (end === undefined && written.length < position + into.length && !signal.aborted) {
          await Promise.race([change.promise, aborted]);
        }
        if (signal.aborted) throw abortError(signal);
        if (end instanceof Error) throw end;
        return written.copy(into, 0, position);
      },
      async write(batch) {
        written = Buffer.concat([written, ...batch]);
        tell();
      },
      prove() {
        diary.push('proven');
        end = written.length;
        resolve(end);
        tell();
      },
      async commit(facts, signal) {
        await at('commit', signal);
        diary.push('committed');
        const location = { store: 'local' as const, path: `/snapshots/${identity.name}` };
        const snapshot = { ...facts, name: identity.name, nodeName: 'k3s-server-1', createdAt: now };
        return {
          snapshot: { ...snapshot, size: written.length, location, compressed: false },
          warnings: [],
        };
      },
      async discard(reason) {
        diary.push('discarded');
        end ??= reason;
        reject(reason);
        tell();
        await at('discard');
      },
      async [Symbol.asyncDispose]() {
        diary.push('closed');
        await at('close');
      },
    };
  };
  const folder: SnapshotFolder = {
    kind: 'local',
    put: unused,
    list: unused,
    stat: unused,
    open: unused,
    remove: unused,
    async sweep() {
      await at('sweep');
      diary.push('swept');
      return [];
    },
    async lock() {
      await at('lock');
      diary.push('locked');
      return {
        async [Symbol.asyncDispose]() {
          diary.push('unlocked');
        },
      };
    },
    create: async (identity) => draftOf(identity),
  };
  const store: SnapshotStore = {
    kind: 's3',
    list: unused,
    stat: unused,
    open: unused,
    remove: unused,
    async sweep(signal) {
      await at('sweep s3', signal);
      diary.push('swept s3');
      return [];
    },
    async put(upload, signal) {
      try {
        for (let position = 0, count = BATCH; count === BATCH; position += count) {
          count = await upload.bytes.read(Buffer.alloc(BATCH), position, signal);
          upload.onProgress?.(position + count);
        }
        const size = await upload.bytes.proven;
        await at('upload', signal);
        diary.push('uploaded');
        const { createdAt, nodeName, compressed } = upload;
        const location = s3Location(upload.name);
        return {
          snapshot: { name: upload.name, nodeName, createdAt, compressed, size, location },
          warnings: options.warnings ?? [],
        };
      } catch (error) {
        diary.push('upload ended');
        throw error;
      }
    },
  };
  const parts: SaveParts = {
    source: {
      async status(signal) {
        await at('status', signal);
        return {
          endpoint: 'https://127.0.0.1:2379',
          memberId: '2',
          leaderId: '2',
          isLearner: options.learner ?? false,
          errors: options.complaints ?? [],
        };
      },
      async open(signal) {
        const bytes = options.bytes ?? whole;
        return {
          size: whole.length,
          async *[Symbol.asyncIterator]() {
            for (let from = 0; from < bytes.length; from += BATCH) {
              await at('batch', signal);
              yield [bytes.subarray(from, from + 500), bytes.subarray(from + 500, from + BATCH)];
            }
          },
        };
      },
      close: () => undefined,
    },
    folder,
    remote: {
      async open(signal) {
        await at('open s3', signal);
        return store;
      },
      location: s3Location,
    },
    recorder: {
      facts: async () => ({ clusterId: 'uid' }),
      async record(snapshot, signal) {
        await at('record', signal);
        recorded.push(snapshot);
      },
    },
    tokenHash: async () => '2bb80d537b1d',
    compress: undefined,
    clock: { now: () => now },
  };
  return { parts, diary, recorded };
}
