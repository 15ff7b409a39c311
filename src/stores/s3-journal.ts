import { randomBytes } from 'node:crypto';
import { appendFile, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { S3Settings } from '../config/types.ts';
import { SnapshotError, systemCode } from '../errors.ts';
import { snapshotKey } from './s3-keys.ts';

/**
 * Notes of uploads in progress, so that the parts of a killed process are found again: `.<name>.<random>.upload` in the
 * snapshot folder. Line 1 says where, before the upload begins; line 2, once it has begun, which one.
 */
export interface UploadNote {
  readonly file: string;
  /** Name of the snapshot. */
  readonly name: string;
  readonly key: string;
  readonly uploadId: string | undefined;
}

export interface OpenNote {
  begun(uploadId: string): Promise<void>;
  remove(): Promise<void>;
}

const VERSION = 1;

/** Writes line 1 and sees to it that it is on disk. Rejects with Node's own error. */
export async function noteUpload(dir: string, settings: S3Settings, name: string): Promise<OpenNote> {
  const path = join(dir, `.${name}.${randomBytes(6).toString('hex')}.upload`);
  const where = { endpoint: settings.endpoint, bucket: settings.bucket, key: snapshotKey(settings, name) };
  await writeFile(path, `${JSON.stringify({ version: VERSION, ...where })}\n`, {
    flag: 'wx',
    mode: 0o600,
    flush: true,
  });
  return {
    begun: (uploadId) => appendFile(path, `${JSON.stringify({ uploadId })}\n`),
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

/** The notes about this endpoint and bucket. A note that was cut off in mid-write counts as ours: its name tells the key. @throws SnapshotError `io` */
export async function readNotes(dir: string, settings: S3Settings): Promise<readonly UploadNote[]> {
  const notes: UploadNote[] = [];
  for (const file of await filesIn(dir)) {
    const name = /^\.(.+)\.[0-9a-f]{12}\.upload$/.exec(file)?.[1];
    if (name === undefined) continue;
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
      name,
      key: typeof key === 'string' ? key : snapshotKey(settings, name),
      uploadId: typeof uploadId === 'string' ? uploadId : undefined,
    });
  }
  return notes;
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
