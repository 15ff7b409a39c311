import { SnapshotError } from '../errors.ts';
import { IntegrityCheck } from './integrity.ts';
import { uncompressedName } from './naming.ts';
import type { SnapshotDraft, SnapshotStream } from './ports.ts';
import type { Compressor, SaveProgress } from './save-snapshot.ts';

/**
 * Writes a whole stream to the draft, and proves it there.
 * @throws SnapshotError `corrupt` for what is no whole snapshot, and whatever ended stream or writing
 */
export async function streamToDraft(
  stream: SnapshotStream,
  draft: SnapshotDraft,
  file: { readonly name: string; readonly createdAt: Date; readonly compress: Compressor | undefined },
  onProgress: (progress: SaveProgress) => void,
  signal: AbortSignal,
): Promise<void> {
  const checked = proveWhileReading(stream, onProgress);
  const entry = { name: uncompressedName(file.name), mtime: file.createdAt, expectedSize: stream.size };
  if (file.compress !== undefined) await pour(file.compress.zip(checked, entry, signal), draft);
  else checkPoured(await pour(checked, draft), stream.size);
  draft.prove();
}

/** Passes the bytes on and throws at the end, before the consumer sees one, unless they are a whole snapshot. */
async function* proveWhileReading(
  stream: SnapshotStream,
  onProgress: (progress: SaveProgress) => void,
): AsyncGenerator<readonly Uint8Array[]> {
  const check = new IntegrityCheck();
  for await (const batch of stream) {
    check.update(batch);
    yield batch;
    onProgress({ store: 'local', bytes: check.bytes, total: stream.size });
  }
  check.finish(stream.size);
}

/** Writes one batch while the next one is received and hashed. @returns bytes written */
async function pour(bytes: AsyncIterable<readonly Uint8Array[]>, draft: SnapshotDraft): Promise<number> {
  const batches = bytes[Symbol.asyncIterator]();
  let poured = 0;
  let current = await batches.next();
  while (current.done !== true) {
    const [next] = await Promise.all([batches.next(), draft.write(current.value)]);
    // Counted behind the write: memory that was given back too soon is empty.
    for (const slice of current.value) poured += slice.length;
    current = next;
  }
  return poured;
}

/** What was hashed is what was written, or it is no snapshot. */
function checkPoured(poured: number, expected: number): void {
  if (poured === expected) return;
  throw new SnapshotError('corrupt', 'The snapshot was not written as it came', {
    why: `${expected} bytes were received and proven, and ${poured} of them were written`,
    hint: 'Nothing was kept. Try again; if it happens twice, please report it.',
    retryable: true,
  });
}
