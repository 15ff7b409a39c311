import { asError, isSnapshotError } from '../errors.ts';
import type { S3Connection } from './s3-client.ts';
import { forgetNotes, readNotes, removeNote, type UploadNote } from './s3-journal.ts';
import { folderPrefix, isNameOfNode, nameOfKey, s3Url } from './s3-keys.ts';
import { abortUpload, abortUploadsOf, dropUpload, listUploads } from './s3-multipart.ts';

/**
 * Without a note a name alone says whose an upload is, and that of `my-node-1` ends like that of `node-1`. So only what
 * no save can still be at is dropped: one that has been open for a day.
 */
const OLD_ENOUGH_MS = 24 * 3_600_000;
/** A note of an endpoint, bucket or node that is no more is of use to nobody after that. */
const NOTE_IS_OLD_MS = 30 * 24 * 3_600_000;

/**
 * Drops the parts that dead saves of this node left in the bucket: first those that a note in `journalDir` names, whatever
 * their age, then those whose key says that they are ours and that are more than a day old. Notes of whatever node that are
 * more than 30 days old go too.
 * Only for the holder of the node's folder lock. @returns one line per upload that went
 * @throws SnapshotError what went wrong first, when all else is done
 */
export async function sweepUploads(
  s3: S3Connection,
  options: { readonly nodeName: string; readonly journalDir: string | undefined },
  signal: AbortSignal,
): Promise<readonly string[]> {
  const { settings } = s3;
  const gone: string[] = [];
  const { journalDir, nodeName } = options;
  const failures: Error[] = [];
  const now = s3.clock.now().getTime();
  const before = new Date(now - OLD_ENOUGH_MS);
  /** What is wrong with one note, or a right that is missing, must not keep the others for ever; a dead server would. */
  const fail = (error: unknown) => {
    if (isSnapshotError(error, 'unavailable', 'timeout', 'aborted')) throw error;
    failures.push(asError(error));
  };
  for (const note of journalDir === undefined ? [] : await readNotes(journalDir, settings, nodeName)) {
    const line = await sweepNote(s3, note, before, signal).catch(fail);
    if (typeof line === 'string') gone.push(line);
  }
  gone.push(...((await sweepOld(s3, nodeName, before, signal).catch(fail)) ?? []));
  if (journalDir !== undefined) {
    const forgotten = await forgetNotes(journalDir, new Date(now - NOTE_IS_OLD_MS)).catch(fail);
    gone.push(...(forgotten ?? []).map((file) => `note ${file} of an upload of more than 30 days ago`));
  }
  const [failure] = failures;
  if (failure !== undefined) throw failure;
  return gone;
}

/** @returns a line when something went */
async function sweepNote(
  s3: S3Connection,
  note: UploadNote,
  before: Date,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { uploadId, key } = note;
  const none = { was: false, isGone: true };
  const { was, isGone } = uploadId === undefined ? none : await dropUpload(s3, key, uploadId, signal);
  // A process that died between begin and note, or whose begin was tried twice, left uploads without parts that no note
  // names. Those of another cluster look the same, so these wait until nobody can still be at them.
  const others = note.mayHaveOthers ? await abortUploadsOf(s3, key, signal, before) : { dropped: 0, left: 0 };
  // Where nobody may look whether it is gone, the next sweep hears that it is.
  if (isGone && others.left === 0) await removeNote(note.file);
  return was || others.dropped > 0 ? `unfinished upload of ${s3Url(s3.settings, key)}` : undefined;
}

async function sweepOld(
  s3: S3Connection,
  nodeName: string,
  before: Date,
  signal: AbortSignal,
): Promise<string[]> {
  const { settings } = s3;
  const gone: string[] = [];
  const prefix = folderPrefix(settings);
  for (const upload of await listUploads(s3, prefix, signal)) {
    const name = nameOfKey(prefix, upload.key);
    if (name === undefined || !isNameOfNode(name, nodeName)) continue;
    if (upload.initiated === undefined || upload.initiated >= before) continue;
    if (await abortUpload(s3, upload.key, upload.uploadId, signal)) {
      gone.push(`unfinished upload of ${s3Url(settings, upload.key)}`);
    }
  }
  return gone;
}
