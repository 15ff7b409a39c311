import { connect } from 'node:net';
import { abortError, systemCode } from '../errors.ts';

/** What a contender for a folder says of itself to whoever connects. */
export interface Contender {
  readonly state: 'trying' | 'holding';
  readonly id: string;
  /** As its own container counts. */
  readonly pid: number;
  readonly host: string;
}

/** Milliseconds in which a living process answers, even on a loaded machine. */
const ANSWER_MS = 1000;

/**
 * What became of a socket's owner, where it did not answer. `gone`: no such socket; `dead`: nobody listens any more;
 * `cut`: it ended while we were in its queue, and will be gone or dead when asked again; `silent`: it has the socket and
 * does not answer (it is stopped, or not ours).
 */
export type NoAnswer = 'gone' | 'dead' | 'cut' | 'silent';

/** Asks the owner of a socket who it is. @throws SnapshotError `aborted` */
export function askSocket(path: string, signal: AbortSignal): Promise<Contender | NoAnswer> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(abortError(signal));
      return;
    }
    let text = '';
    const socket = connect(path);
    const settle = (answer: Contender | NoAnswer) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      socket.destroy();
      resolve(answer);
    };
    const onAbort = () => {
      clearTimeout(timer);
      socket.destroy();
      reject(abortError(signal));
    };
    const timer = setTimeout(() => settle('silent'), ANSWER_MS);
    signal.addEventListener('abort', onAbort, { once: true });
    socket.setEncoding('utf8');
    socket.on('data', (part: string) => {
      text += part;
    });
    socket.once('end', () => settle(text === '' ? 'cut' : (parse(text) ?? 'silent')));
    socket.once('error', (error) => settle(meaningOf(systemCode(error))));
  });
}

function meaningOf(code: string | undefined): NoAnswer {
  switch (code) {
    case 'ENOENT':
      return 'gone';
    case 'ECONNREFUSED':
      return 'dead';
    case 'ECONNRESET':
    case 'EPIPE':
      return 'cut';
    default:
      return 'silent';
  }
}

function parse(text: string): Contender | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isContender(value) ? value : undefined;
  } catch {
    // Not our words, hence not one of ours: the caller takes it for somebody alive.
    return undefined;
  }
}

function isContender(value: unknown): value is Contender {
  return (
    typeof value === 'object' &&
    value !== null &&
    'state' in value &&
    (value.state === 'trying' || value.state === 'holding') &&
    'id' in value &&
    typeof value.id === 'string' &&
    'pid' in value &&
    typeof value.pid === 'number' &&
    'host' in value &&
    typeof value.host === 'string'
  );
}
