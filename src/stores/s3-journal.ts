import { randomBytes } from 'node:crypto';
import { appendFile, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { S3Settings } from '../config/types.ts';
import { SnapshotError, systemCode } from '../errors.ts';
import { ownerMark, syncFolder } from './atomic-write.ts';
import { snapshotKey } from './s3-keys.ts';

/**
 * Notes of uploads in progress, so that the parts of a killed process are found again:
 * `.<name>.<8 hex of the node><6 hex of chance>.upload` in the snapshot folder, which nodes may share.
 * Line 1 says where, before the upload begins; line 2, once it has begun, which one.
 */
export interface UploadNote {
  readonly file: string;
  readonly key: string;
  readonly uploadId: string | undefined;
  /** Whether there may be other uploads of the key that nobody knows of. */
  readonly mayHaveOthers: boolean;
}

export interface OpenNote {
  /** @param mayHaveOthers the begin was tried more than once */
  begun(uploadId: string, mayHaveOthers: boolean): Promise<void>;
  remove(): Promise<void>;
}

const VERSION = 1;
const NOTE = /^\.(.+)\.([0-9a-f]{8})[0-9a-f]{6}\.upload$/;

/** The calls that make a note outlive a power cut. */
export const noteCalls = { writeFile, appendFile, syncFolder };

/** Writes line 1; what it resolves to is on disk. Rejects with Node's own error. */
export async function noteUpload(
  dir: string,
  settings: S3Settings,
  snapshot: { readonly name: string; readonly nodeName: string },
  calls: typeof noteCalls = noteCalls,
): Promise<OpenNote> {
  const { name, nodeName } = snapshot;
  const path = join(dir, `.${name}.${ownerMark(nodeName)}${randomBytes(3).toString('hex')}.upload`);
  const where = { endpoint: settings.endpoint, bucket: settings.bucket, key: snapshotKey(settings, name) };
  await calls.writeFile(path, `${JSON.stringify({ version: VERSION, ...where })}\n`, {
    flag: 'wx',
    mode: 0o600,
    flush: true,
  });
  await calls.syncFolder(dir);
  return {
    begun: (uploadId, mayHaveOthers) =>
      calls.appendFile(path, `${JSON.stringify({ uploadId, mayHaveOthers })}\n`, { flush: true }),
    remove: () => removeNote(path),
  };
}

/** @throws SnapshotError `io` */
export async function removeNote(file: string): Promise<void> {
  await rm(file, { force: true }).catch((cause: unknown) => {
    throw new SnapshotError('io', `Cannot remove the note of an upload ${file}`, {
      cause,
      hint: 'Remove it by hand; it only names an upload that is over.',
    });
  });
}

/**
 * The notes that this node made about this endpoint and bucket. One that was cut off in mid-write counts as one of them:
 * its name tells the key. @throws SnapshotError `io`
 */
export async function readNotes(
  dir: string,
  settings: S3Settings,
  nodeName: string,
): Promise<readonly UploadNote[]> {
  const notes: UploadNote[] = [];
  for (const file of await filesIn(dir)) {
    const [, name, mark] = NOTE.exec(file) ?? [];
    if (name === undefined || mark !== ownerMark(nodeName)) continue;
    const path = join(dir, file);
    const text = await readFile(path, 'utf8').catch((cause: unknown) => unreadable(path, cause));
    const [where, which] = text.split('\n').map(parseLine);
    if (
      where !== undefined &&
      (where['endpoint'] !== settings.endpoint || where['bucket'] !== settings.bucket)
    ) {
      continue;
    }
    const key = where?.['key'];
    const uploadId = which?.['uploadId'];
    notes.push({
      file: path,
      key: typeof key === 'string' ? key : snapshotKey(settings, name),
      uploadId: typeof uploadId === 'string' ? uploadId : undefined,
      mayHaveOthers: typeof uploadId !== 'string' || which?.['mayHaveOthers'] !== false,
    });
  }
  return notes;
}

/**
 * Removes the notes, of whatever node, endpoint and bucket, that were last written before then.
 * @returns their paths @throws SnapshotError `io`
 */
export async function forgetNotes(dir: string, before: Date): Promise<readonly string[]> {
  const forgotten: string[] = [];
  for (const file of await filesIn(dir)) {
    if (!NOTE.test(file)) continue;
    const path = join(dir, file);
    const found = await stat(path).catch((error: unknown) =>
      systemCode(error) === 'ENOENT' ? undefined : unreadable(path, error),
    );
    if (found === undefined || found.mtime >= before) continue;
    await removeNote(path);
    forgotten.push(path);
  }
  return forgotten;
}

async function filesIn(dir: string): Promise<string[]> {
  try {
    return await readdir(dir);
  } catch (error) {
    return systemCode(error) === 'ENOENT' ? [] : unreadable(dir, error);
  }
}

function unreadable(path: string, cause: unknown): never {
  throw new SnapshotError('io', `Cannot read the notes of uploads ${path}`, {
    cause,
    hint: 'Run as a user who may read and write the snapshot folder.',
  });
}

function parseLine(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
