import { randomBytes } from 'node:crypto';
import { type FileHandle, open, readdir, rm } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { abortError, SnapshotError, systemCode } from '../errors.ts';

const LOCK = /^\.etcd-snapshot\.[0-9a-f]{16}\.lock$/;
/** A holder that is stopped takes connections all the same, but says nothing. */
const ANSWER_MS = 1_000;
const RETRY_MS = 20;

interface Answer {
  readonly state: 'trying' | 'holding';
  readonly pid: number;
}

/**
 * Takes a folder for this process, with a lock that the kernel gives back when the process ends, however it ends, and that
 * holds across containers which share the folder but neither process ids nor network.
 *
 * Each contender binds a Unix socket with a name of its own in the folder and *then* looks at the others: of two that come
 * at once, at least one sees the other. A socket that refuses connections has no process any more and is removed, which is
 * safe because names are never used twice. Of those that are still trying the smallest name goes on, the others give up;
 * one that holds makes everybody give up.
 *
 * @throws SnapshotError `busy`, or the system error that kept the socket from being made
 */
export async function lockFolder(dir: string, signal: AbortSignal): Promise<AsyncDisposable> {
  const name = `.etcd-snapshot.${randomBytes(8).toString('hex')}.lock`;
  const folder = await open(dir, 'r');
  const mine: Answer = { state: 'trying', pid: process.pid };
  const status = { ...mine } as { -readonly [Key in keyof Answer]: Answer[Key] };
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.end(JSON.stringify(status));
  });
  const release = async () => {
    await new Promise((resolve) => server.close(resolve));
    await rm(join(dir, name), { force: true });
    await folder.close();
  };
  try {
    await listen(server, socketPath(folder, name));
    await outlast(dir, folder, name, signal);
    status.state = 'holding';
    server.unref();
    return { [Symbol.asyncDispose]: release };
  } catch (error) {
    await release();
    throw error;
  }
}

/** Returns when nobody else has the folder or tries for it with a smaller name. */
async function outlast(dir: string, folder: FileHandle, name: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    if (signal.aborted) throw abortError(signal);
    const others = (await readdir(dir)).filter((entry) => LOCK.test(entry) && entry !== name);
    const answers = await Promise.all(others.map((other) => ask(dir, folder, other)));
    let waiting = false;
    for (const [at, answer] of answers.entries()) {
      if (answer === undefined) continue;
      if (answer.state === 'holding' || (others[at] ?? '') < name) throw busy(dir, answer);
      waiting = true;
    }
    if (!waiting) return;
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/** What the process behind a socket says; undefined when there is none, in which case its socket is removed. */
async function ask(dir: string, folder: FileHandle, other: string): Promise<Answer | undefined> {
  const { promise, resolve } = Promise.withResolvers<Answer | undefined>();
  const silent: Answer = { state: 'holding', pid: 0 };
  const socket = connect(socketPath(folder, other));
  const timer = setTimeout(() => resolve(silent), ANSWER_MS);
  let text = '';
  socket.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  socket.once('end', () => resolve(parse(text) ?? silent));
  socket.once('error', (error) => {
    const code = systemCode(error);
    resolve(code === 'ECONNREFUSED' || code === 'ENOENT' ? undefined : silent);
  });
  try {
    const answer = await promise;
    if (answer === undefined) await rm(join(dir, other), { force: true });
    return answer;
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

function parse(text: string): Answer | undefined {
  const match = /^\{"state":"(trying|holding)","pid":(\d+)\}$/.exec(text);
  return match === null
    ? undefined
    : { state: match[1] === 'trying' ? 'trying' : 'holding', pid: Number(match[2]) };
}

/** Addresses of Unix sockets end after 107 bytes; a path through the open folder is always short enough. */
function socketPath(folder: FileHandle, name: string): string {
  return `/proc/self/fd/${folder.fd}/${name}`;
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ path, readableAll: false, writableAll: false }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function busy(dir: string, answer: Answer): SnapshotError {
  const who = answer.pid === 0 ? 'a process that does not answer' : `process ${answer.pid}`;
  return new SnapshotError('busy', `Another save into ${dir} is already running`, {
    why: `${who} holds the folder`,
    hint: 'Wait until it is done; one snapshot at a time keeps them apart and spares etcd.',
    retryable: true,
  });
}
