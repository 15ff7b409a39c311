import { UploadPartCommand } from '@aws-sdk/client-s3';
import { abortError } from '../errors.ts';
import type { S3Connection } from './s3-client.ts';
import { readFailure } from './s3-failure.ts';
import { customerKeyOf } from './s3-object-parameters.ts';

const BYTE = Buffer.from([0]);
/** The SHA-256 of other bytes, whatever they are. */
const WRONG_SUM = '0'.repeat(64);

/**
 * Whether the server holds the bytes of a part against the SHA-256 that is signed with them, found out by sending it one
 * byte with the sum of others. A server that takes it keeps it as part 1, which the true one then replaces: so this is to be
 * awaited before that is sent. No answer counts as no: the parts get sums of their own then, and the next upload asks again.
 * A question that comes in later than the true part spoils the upload, which S3 tells at its end by the part's ETag.
 * @throws SnapshotError `aborted` | `timeout` when the signal fires
 */
export async function refusesDamage(
  s3: S3Connection,
  upload: { readonly key: string; readonly doing: string; readonly uploadId: string },
  signal: AbortSignal,
): Promise<boolean> {
  const input = {
    ...customerKeyOf(s3.settings),
    Bucket: s3.settings.bucket,
    Key: upload.key,
    UploadId: upload.uploadId,
    PartNumber: 1,
    Body: BYTE,
    ContentLength: BYTE.length,
  };
  return s3.call('UploadPart', upload.doing, signal, async (client, options) => {
    try {
      await client.send(signedWith(new UploadPartCommand(input), WRONG_SUM), options);
      return false;
    } catch (error) {
      if (signal.aborted) throw abortError(signal);
      // Whatever else went wrong says nothing of what it looks at, and the true part will meet it where it matters.
      return readFailure(error).name === 'XAmzContentSHA256Mismatch';
    }
  });
}

/** The signer takes a sum that is there already for the right one. */
function signedWith(command: UploadPartCommand, sha256: string): UploadPartCommand {
  command.middlewareStack.add(
    (next) => (args) => {
      const { request } = args;
      if (hasHeaders(request)) request.headers['x-amz-content-sha256'] = sha256;
      return next(args);
    },
    { step: 'build', name: 'wrongSum' },
  );
  return command;
}

function hasHeaders(request: unknown): request is { headers: Record<string, string> } {
  return typeof request === 'object' && request !== null && 'headers' in request;
}
