import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';

/** Every server that this process started and that still runs; ended with it, whatever ends it. */
const running = new Set<ChildProcess>();
let guard: ChildProcess | undefined;

function endAll(): void {
  for (const child of running) child.kill('SIGKILL');
}
process.once('exit', endAll);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    endAll();
    process.exit(130);
  });
}

/**
 * Keeps a list of the servers outside of this process. When its input ends, because this process is gone and be it by SIGKILL,
 * it ends those that are left, each by its id; a session of its own keeps Ctrl-C in the terminal from ending it first.
 */
const GUARD = `
left=' '
while read -r sign pid; do
  case $sign in
    +) left="$left$pid " ;;
    -) left="\${left%% $pid *} \${left#* $pid }" ;;
  esac
done
for pid in $left; do kill -9 "$pid" 2>/dev/null; done
`;

function tellGuard(sign: '+' | '-', pid: number | undefined): void {
  if (pid === undefined) return;
  if (guard === undefined) {
    guard = spawn('sh', ['-c', GUARD], { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
    guard.unref();
    // It must not keep a finished run from ending.
    if (guard.stdin !== null && 'unref' in guard.stdin) (guard.stdin as Socket).unref();
  }
  guard.stdin?.write(`${sign} ${pid}\n`);
}

export interface ServerSpec {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly logFile: string;
  /** Asked until it says true. */
  readonly ready: () => Promise<boolean>;
  /** Default 180 s: a loaded machine is slow, not broken. */
  readonly readyTimeoutMs?: number;
}

export interface Server extends AsyncDisposable {
  readonly pid: number;
  kill(signal: NodeJS.Signals): void;
  /** Resolves when the process is gone: with its exit code, or null when a signal ended it. */
  readonly exited: Promise<number | null>;
}

/** Starts a server and waits until it is ready. @throws Error with the end of its log when it does not become ready */
export async function startServer(spec: ServerSpec): Promise<Server> {
  const log = openSync(spec.logFile, 'a');
  const child = spawn(spec.command, spec.args, {
    env: { ...process.env, ...spec.env },
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  running.add(child);
  tellGuard('+', child.pid);
  const exited = new Promise<number | null>((resolve) => {
    child.once('close', (code) => {
      running.delete(child);
      tellGuard('-', child.pid);
      resolve(code);
    });
  });
  let failure: Error | undefined;
  child.once('error', (error) => {
    failure = error;
  });
  const server: Server = {
    pid: child.pid ?? -1,
    exited,
    kill: (signal) => void child.kill(signal),
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      if (child.pid !== undefined) await exited;
    },
  };
  const deadline = Date.now() + (spec.readyTimeoutMs ?? 180_000);
  for (;;) {
    if (
      failure !== undefined ||
      child.exitCode !== null ||
      child.signalCode !== null ||
      Date.now() > deadline
    ) {
      await server[Symbol.asyncDispose]();
      const tail = readFileSync(spec.logFile, 'utf8').slice(-3000);
      throw new Error(`${spec.name} did not become ready (exit code ${child.exitCode}):\n${tail}`, {
        cause: failure,
      });
    }
    if (await spec.ready()) return server;
    await sleep(50);
  }
}

export function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Ports that nobody listens on now. They are asked for together, so they differ. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
          const server = createServer();
          server.once('error', reject);
          server.listen(0, '127.0.0.1', () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
