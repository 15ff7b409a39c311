import type { S3Connection } from './s3-client.ts';
import { readNotes, removeNote } from './s3-journal.ts';
import { folderPrefix, isNameOfNode, nameOfKey, s3Url } from './s3-keys.ts';
import { abortUpload, abortUploadsOf, listUploads } from './s3-multipart.ts';

/** An upload of this node that is older cannot be one that runs: whoever sweeps holds the node's folder. */
const OLD_ENOUGH_MS = 3_600_000;

/**
 * Drops the parts that dead saves of this node left in the bucket: first those that a note in `journalDir` tells of,
 * whatever their age, then those whose key says that they are ours and that are more than an hour old.
 * Only for the holder of the node's folder lock. @returns one line per upload that went
 */
export async function sweepUploads(
  s3: S3Connection,
  options: { readonly nodeName: string; readonly journalDir: string | undefined },
  signal: AbortSignal,
): Promise<readonly string[]> {
  const { settings } = s3;
  const gone: string[] = [];
  const { journalDir, nodeName } = options;
  for (const note of journalDir === undefined ? [] : await readNotes(journalDir, settings)) {
    const named = note.uploadId !== undefined && (await abortUpload(s3, note.key, note.uploadId, signal));
    // A process that died between begin and note, or whose begin was tried twice, left uploads that no note names.
    const others = await abortUploadsOf(s3, note.key, signal);
    if (named || others > 0) gone.push(`unfinished upload of ${s3Url(settings, note.key)}`);
    await removeNote(note.file);
  }
  const prefix = folderPrefix(settings);
  const before = s3.clock.now().getTime() - OLD_ENOUGH_MS;
  for (const upload of await listUploads(s3, prefix, signal)) {
    const name = nameOfKey(prefix, upload.key);
    if (name === undefined || !isNameOfNode(name, nodeName)) continue;
    if (upload.initiated === undefined || upload.initiated.getTime() >= before) continue;
    if (await abortUpload(s3, upload.key, upload.uploadId, signal)) {
      gone.push(`unfinished upload of ${s3Url(settings, upload.key)}`);
    }
  }
  return gone;
}
