import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, readdir, rename, unlink } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { abortError, SnapshotError, systemCode } from '../errors.ts';
import { diskError, lacks } from './disk-errors.ts';
import { askSocket, type Contender, type NoAnswer } from './folder-contender.ts';

const LOCK = /^\.etcd-snapshot\.([0-9a-f]{16})\.lock$/;
/** A socket between its birth and the moment it listens. */
const UNBORN = /^\.etcd-snapshot\.[0-9a-f]{16}\.new$/;
/** How long a contender that must give way may take to do so, in milliseconds. */
const GIVE_WAY_MS = 2000;
const POLL_MS = 20;

/**
 * Takes the folder for this process. Each contender listens on a Unix socket of its own in the folder, then gives it the
 * name that others look for, and only then calls all others. The kernel closes the socket of a dead process, so connecting
 * there is refused, while one in another container (which knows no pid of ours) still answers.
 *
 * Why at most one holds: of any two, the one that took its name later reads the folder after that and finds the other. It
 * goes on only when the other's socket is gone or refuses, and a name is there only while its socket listens or for ever
 * after. Why one of them gets it: only the larger id gives way to one that is trying, so the smallest gives way to nobody
 * but a holder. A socket that refuses may be removed because names are random and never used twice.
 * @param dir an existing folder @throws SnapshotError `busy` | `aborted` | `read-only` | `disk-full` | `io`
 */
export async function lockFolder(dir: string, signal: AbortSignal): Promise<AsyncDisposable> {
  if (signal.aborted) throw abortError(signal);
  let folder: FileHandle | undefined;
  try {
    folder = await open(dir, constants.O_RDONLY | constants.O_DIRECTORY);
    return await contend(dir, folder, signal);
  } catch (error) {
    await folder?.close();
    throw await diskError(error, { what: `Cannot lock the folder ${dir}`, path: dir });
  }
}

async function contend(dir: string, folder: FileHandle, signal: AbortSignal): Promise<AsyncDisposable> {
  // A socket's path may have 107 bytes; the folder's may be longer, its descriptor is not.
  const at = (name: string) => `/proc/self/fd/${folder.fd}/${name}`;
  const own = await announce(dir, at);
  const release = async () => {
    await own.close();
    await folder.close();
  };
  try {
    for (const name of await readdir(at(''))) {
      const id = LOCK.exec(name)?.[1];
      if (id !== undefined && id !== own.id) await pass(dir, at(name), id > own.id, signal);
    }
  } catch (error) {
    await own.close();
    throw error;
  }
  own.hold();
  return { [Symbol.asyncDispose]: once(release) };
}

/** Returns when the other contender is gone. @throws SnapshotError `busy` when it is not, or not soon enough */
async function pass(dir: string, path: string, givesWay: boolean, signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + GIVE_WAY_MS;
  for (;;) {
    if (signal.aborted) throw abortError(signal);
    const answer = await askSocket(path, signal);
    if (answer === 'gone') return;
    if (answer === 'dead') {
      await unlinkIfThere(path);
      return;
    }
    const waits = typeof answer === 'string' ? answer === 'cut' : answer.state === 'trying' && givesWay;
    if (!waits || Date.now() > deadline) throw busy(dir, answer);
    await sleep(POLL_MS);
  }
}

interface Announcement {
  readonly id: string;
  hold(): void;
  close(): Promise<void>;
}

/** Listens first and takes the name others look for after that: who has that name and does not answer is dead. */
async function announce(dir: string, at: (name: string) => string): Promise<Announcement> {
  const id = randomBytes(8).toString('hex');
  const unborn = at(`.etcd-snapshot.${id}.new`);
  const path = at(`.etcd-snapshot.${id}.lock`);
  let state: Contender['state'] = 'trying';
  const callers = new Set<Socket>();
  const server = createServer((caller) => {
    callers.add(caller);
    caller.once('close', () => callers.delete(caller));
    caller.once('error', () => caller.destroy());
    caller.resume();
    caller.end(`${JSON.stringify({ state, id, pid: process.pid, host: hostname() } satisfies Contender)}\n`);
  });
  const close = async () => {
    await unlinkIfThere(path);
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const caller of callers) caller.destroy();
    await closed;
  };
  await listen(server, unborn).catch(async (error: unknown) => {
    // A folder that takes no file either has another trouble, and this says which.
    await (await open(unborn, 'wx')).close();
    await unlink(unborn);
    throw lacks(error, 'Unix sockets', { what: `Cannot lock the folder ${dir}`, path: dir }) ?? error;
  });
  // A save that ends without giving the lock back must still be able to end.
  server.unref();
  try {
    await rename(unborn, path);
  } catch (error) {
    await close();
    // Somebody swept the folder between the socket's birth and its first listening.
    if (systemCode(error) === 'ENOENT') return announce(dir, at);
    throw error;
  }
  return {
    id,
    close,
    hold: () => {
      state = 'holding';
    },
  };
}

/** Removes the sockets that dead processes left in the folder. Returns their names. */
export async function sweepLocks(dir: string, signal: AbortSignal): Promise<string[]> {
  const folder = await open(dir, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const gone: string[] = [];
    for (const entry of await readdir(dir, { withFileTypes: true })) {
      if (!entry.isSocket() || !(LOCK.test(entry.name) || UNBORN.test(entry.name))) continue;
      const path = `/proc/self/fd/${folder.fd}/${entry.name}`;
      if ((await askSocket(path, signal)) !== 'dead') continue;
      await unlinkIfThere(path);
      gone.push(entry.name);
    }
    return gone;
  } finally {
    await folder.close();
  }
}

function busy(dir: string, other: Contender | NoAnswer): SnapshotError {
  return new SnapshotError('busy', `Another save is already running in ${dir}`, {
    why:
      typeof other === 'string'
        ? 'another process has the folder and does not answer'
        : `process ${other.pid} on ${other.host} has the folder`,
    hint: 'Wait until it has ended, or end it.',
    retryable: true,
  });
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

async function unlinkIfThere(path: string): Promise<void> {
  await unlink(path).catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw error;
  });
}

function once(action: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => {
    done ??= action();
    return done;
  };
}
