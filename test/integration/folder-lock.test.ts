import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, it } from 'vitest';
import { lockFolder, sweepLocks } from '../../src/stores/folder-lock.ts';
import { programPath } from '../support/programs.ts';
import { scratchDir } from '../support/scratch.ts';

const script = programPath('lock-contender');
const never = new AbortController().signal;
const locks = async (dir: string) => (await readdir(dir)).filter((name) => name.endsWith('.lock'));

interface Answer {
  readonly state: string;
  readonly pid?: number;
  readonly why?: string;
}

interface Contender extends AsyncDisposable {
  readonly child: ChildProcess;
  lock(): Promise<Answer>;
  release(): Promise<Answer>;
  end(signal: NodeJS.Signals): Promise<void>;
}

/** A process of its own that contends for the folder; behind `wrapper`, in namespaces of its own. */
async function contender(dir: string, wrapper: readonly string[] = []): Promise<Contender> {
  const [command, ...args] = [...wrapper, process.execPath, script, dir] as const;
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => JSON.parse(String((await lines.next()).value)) as Answer;
  const ask = (line: string) => {
    child.stdin.write(`${line}\n`);
    return next();
  };
  const end = async (signal: NodeJS.Signals) => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    await exited;
  };
  await next();
  return {
    child,
    lock: () => ask('lock'),
    release: () => ask('release'),
    end,
    [Symbol.asyncDispose]: () => end('SIGKILL'),
  };
}

describe('the lock of a folder', () => {
  it('goes to exactly one of two processes that come at once, every time', async () => {
    await using dir = await scratchDir();
    await using one = await contender(dir.path);
    await using two = await contender(dir.path);
    for (let round = 0; round < 20; round += 1) {
      const answers = await Promise.all([one.lock(), two.lock()]);
      expect(answers.map(({ state }) => state).toSorted()).toEqual(['busy', 'held']);
      await (answers[0].state === 'held' ? one : two).release();
    }
    expect(await readdir(dir.path)).toEqual([]);
  });

  it('goes to exactly one of five within one process', async () => {
    await using dir = await scratchDir();
    for (let round = 0; round < 20; round += 1) {
      const outcomes = await Promise.allSettled(Array.from({ length: 5 }, () => lockFolder(dir.path, never)));
      const held = outcomes.filter((outcome) => outcome.status === 'fulfilled');
      expect(held).toHaveLength(1);
      for (const { value } of held) await value[Symbol.asyncDispose]();
    }
    expect(await readdir(dir.path)).toEqual([]);
  });

  it('names the process that has it', async () => {
    await using dir = await scratchDir();
    await using holder = await contender(dir.path);
    expect(await holder.lock()).toMatchObject({ state: 'held' });
    await expect(lockFolder(dir.path, never)).rejects.toMatchObject({
      code: 'busy',
      retryable: true,
      why: expect.stringContaining(`process ${holder.child.pid} `),
    });
  });

  it('is free again when its holder is killed, and what the holder left is removed', async () => {
    await using dir = await scratchDir();
    await using holder = await contender(dir.path);
    await using next = await contender(dir.path);
    expect(await holder.lock()).toMatchObject({ state: 'held' });
    expect(await next.lock()).toMatchObject({ state: 'busy' });
    const left = await locks(dir.path);
    await holder.end('SIGKILL');
    expect(await next.lock()).toMatchObject({ state: 'held' });
    const now = await locks(dir.path);
    expect(now).toHaveLength(1);
    expect(now).not.toEqual(left);
  });

  it('stays with a holder that is stopped', async () => {
    await using dir = await scratchDir();
    await using holder = await contender(dir.path);
    expect(await holder.lock()).toMatchObject({ state: 'held' });
    holder.child.kill('SIGSTOP');
    await expect(lockFolder(dir.path, never)).rejects.toMatchObject({ code: 'busy' });
    holder.child.kill('SIGCONT');
    await holder.release();
    await using taken = await lockFolder(dir.path, never);
    expect(taken).toBeDefined();
  });

  it('holds between containers, which know neither processes nor networks of each other', async () => {
    await using dir = await scratchDir();
    const container = ['unshare', '--pid', '--net', '--mount-proc', '--fork', '--kill-child'];
    await using holder = await contender(dir.path, container);
    expect(await holder.lock()).toMatchObject({ state: 'held' });
    await expect(lockFolder(dir.path, never)).rejects.toMatchObject({ code: 'busy' });
    await using other = await contender(dir.path, container);
    expect(await other.lock()).toMatchObject({ state: 'busy' });
    await holder.end('SIGKILL');
    expect(await other.lock()).toMatchObject({ state: 'held' });
  });

  it('works in a folder whose path is longer than a socket address', async () => {
    await using dir = await scratchDir();
    const deep = join(dir.path, 'x'.repeat(100), 'y'.repeat(100));
    await mkdir(deep, { recursive: true });
    {
      await using taken = await lockFolder(deep, never);
      expect(taken).toBeDefined();
      await expect(lockFolder(deep, never)).rejects.toMatchObject({ code: 'busy' });
    }
    expect(await readdir(deep)).toEqual([]);
  });

  it('ends at once when it is aborted', async () => {
    await using dir = await scratchDir();
    await expect(lockFolder(dir.path, AbortSignal.abort())).rejects.toMatchObject({ code: 'aborted' });
    expect(await readdir(dir.path)).toEqual([]);
  });

  it('does not keep a process alive that ends without giving it back', async () => {
    await using dir = await scratchDir();
    await using holder = await contender(dir.path);
    expect(await holder.lock()).toMatchObject({ state: 'held' });
    const exited = once(holder.child, 'exit');
    holder.child.stdin?.end();
    expect(await exited).toEqual([0, null]);
  });
});

describe('sweeping sockets', () => {
  it('removes those of dead processes and leaves the living and the foreign', async () => {
    await using dir = await scratchDir();
    await using dead = await contender(dir.path);
    await dead.lock();
    const left = await locks(dir.path);
    await dead.end('SIGKILL');
    await writeFile(join(dir.path, 'notes.lock'), '');
    expect(await sweepLocks(dir.path, never)).toEqual(left);
    await using living = await lockFolder(dir.path, never);
    expect(living).toBeDefined();
    expect(await sweepLocks(dir.path, never)).toEqual([]);
    expect(await locks(dir.path)).toHaveLength(2);
  });

  it('leaves a socket of ours in name that somebody else listens on', async () => {
    await using dir = await scratchDir();
    const name = `.etcd-snapshot.${'0'.repeat(16)}.lock`;
    const server = createServer((socket) => socket.end('who are you?')).listen(join(dir.path, name));
    await once(server, 'listening');
    await expect(lockFolder(dir.path, never)).rejects.toMatchObject({ code: 'busy' });
    expect(await sweepLocks(dir.path, never)).toEqual([]);
    server.close();
    await once(server, 'close');
  });
});
