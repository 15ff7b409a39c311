import type { EtcdSettings } from '../config/types.ts';
import { abortError, asError, SnapshotError } from '../errors.ts';
import type { Clock, MemberStatus, SnapshotSource, SnapshotStream } from '../snapshot/ports.ts';
import { loadTarget } from './connection.ts';
import { timedOut } from './etcd-errors.ts';
import { CallOutcome, EtcdSession } from './etcd-session.ts';
import { readFields } from './protobuf.ts';
import { openSnapshotStream } from './snapshot-stream.ts';

const STATUS = '/etcdserverpb.Maintenance/Status';
const STATUS_TIMEOUT_MS = 5_000;
const MAX_STATUS_BYTES = 1024 * 1024;
const PREFIX_BYTES = 5;

/** Snapshots of the first endpoint of `settings`; status and stream share one connection, so both are of one member. */
export function createEtcdSource(settings: EtcdSettings, clock: Clock): SnapshotSource {
  let session: EtcdSession | undefined;
  const connected = async (signal: AbortSignal): Promise<EtcdSession> => {
    session ??= await EtcdSession.connect(await loadTarget(settings, clock.now()), signal);
    return session;
  };
  return {
    async status(signal: AbortSignal): Promise<MemberStatus> {
      // Only here: a stream on a connection of its own might be of another member than the one that was asked.
      if (session?.alive === false) session = undefined;
      const reply = await unary(await connected(signal), STATUS, signal);
      return parseStatus(settings.endpoints[0] ?? '', reply);
    },
    async open(signal: AbortSignal): Promise<SnapshotStream> {
      return openSnapshotStream(await connected(signal), signal);
    },
    close(): void {
      session?.close();
      session = undefined;
    },
  };
}

async function unary(session: EtcdSession, path: string, signal: AbortSignal): Promise<Uint8Array> {
  const doing = 'etcd does not tell its status';
  if (signal.aborted) throw abortError(signal);
  const stream = session.call(path);
  const outcome = new CallOutcome(doing, stream);
  const timer = setTimeout(() => stream.destroy(timedOut(doing, STATUS_TIMEOUT_MS)), STATUS_TIMEOUT_MS);
  const onAbort = () => stream.destroy(abortError(signal));
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > MAX_STATUS_BYTES) throw notStatus('the answer does not end');
      chunks.push(chunk);
    }
    outcome.check();
    const body = Buffer.concat(chunks);
    if (body.length < PREFIX_BYTES || body[0] !== 0 || body.readUInt32BE(1) !== body.length - PREFIX_BYTES) {
      throw notStatus(`${body.length} bytes are not one gRPC message`);
    }
    return body.subarray(PREFIX_BYTES);
  } catch (error) {
    throw session.failure(doing, asError(error));
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}

/** Numbers of the fields of etcdserverpb.StatusResponse and, nested in field 1, of ResponseHeader. */
function parseStatus(endpoint: string, message: Uint8Array): MemberStatus {
  const status = { endpoint, memberId: '0', leaderId: '0', isLearner: false };
  const errors: string[] = [];
  try {
    for (const { field, value } of readFields(message)) {
      if (field === 1 && typeof value !== 'bigint') status.memberId = memberIdOf(value);
      else if (field === 4 && typeof value === 'bigint') status.leaderId = value.toString(16);
      else if (field === 8 && typeof value !== 'bigint') errors.push(new TextDecoder().decode(value));
      else if (field === 10) status.isLearner = value === 1n;
    }
  } catch (error) {
    throw notStatus(asError(error).message);
  }
  return { ...status, errors };
}

function memberIdOf(header: Uint8Array): string {
  for (const { field, value } of readFields(header)) {
    if (field === 2 && typeof value === 'bigint') return value.toString(16);
  }
  return '0';
}

function notStatus(why: string): SnapshotError {
  return new SnapshotError('protocol', 'The endpoint does not answer like etcd', {
    why,
    hint: 'Check --etcd-servers: it must name the client port of an etcd member (usually 2379).',
  });
}
