import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { abortError, asError, SnapshotError, systemCode } from '../errors.ts';
import type { EtcdTools, RestoreWanted } from '../restore/ports.ts';
import { flushBeside } from './flush-beside.ts';
import { answersAsMember } from './peer-probe.ts';
import { guardOf } from './process-guard.ts';
import { startTemporaryEtcd } from './temporary-etcd.ts';
import { bareEnvironment } from './tool-environment.ts';

const run = promisify(execFile);

export interface EtcdToolsOptions {
  /** Folder that the user named; undefined: look in PATH and then in `elsewhere`. */
  readonly folder: string | undefined;
  readonly path: string;
  /** Folders where we are shipped with the programs. */
  readonly elsewhere: readonly string[];
}

/** The programs are looked for when they are first needed. */
export function createEtcdTools(options: EtcdToolsOptions): EtcdTools {
  const find = (name: string) => findProgram(name, options);
  return {
    async version(signal) {
      const said = await runTool(await find('etcdutl'), ['version'], 'etcdutl does not start', signal);
      return /version: (\S+)/i.exec(said)?.[1] ?? 'unknown';
    },
    async canBump(signal) {
      // Which releases can is a list with exceptions; they say it themselves.
      const words = ['snapshot', 'restore', '--help'];
      const said = await runTool(await find('etcdutl'), words, 'etcdutl does not start', signal);
      return said.includes('--bump-revision') && said.includes('--mark-compacted');
    },
    async restore(wanted, signal) {
      const doing = `${wanted.snapshot} cannot be restored`;
      const program = await find('etcdutl');
      const flushed = flushBeside(join(wanted.dataDir, 'member/snap/db'), signal);
      try {
        await runTool(program, restoreArguments(wanted), doing, signal);
      } finally {
        await flushed();
      }
    },
    start: async (wanted, signal) =>
      startTemporaryEtcd(await find('etcd'), wanted, ['--unsafe-no-fsync'], signal),
    async etcdVersion(signal) {
      const said = await runTool(await find('etcd'), ['--version'], 'etcd does not start', signal);
      return /version: (\S+)/i.exec(said)?.[1] ?? 'unknown';
    },
    async forgetPeers(wanted, signal) {
      await using etcd = await startTemporaryEtcd(
        await find('etcd'),
        wanted,
        ['--force-new-cluster'],
        signal,
      );
      await etcd.stop();
    },
    isMember: answersAsMember,
  };
}

function restoreArguments(wanted: RestoreWanted): string[] {
  const { snapshot, dataDir, member, peerUrl, clusterToken, bumpRevision } = wanted;
  return [
    'snapshot',
    'restore',
    snapshot,
    `--data-dir=${dataDir}`,
    `--name=${member}`,
    `--initial-cluster=${member}=${peerUrl}`,
    `--initial-advertise-peer-urls=${peerUrl}`,
    ...(clusterToken === undefined ? [] : [`--initial-cluster-token=${clusterToken}`]),
    ...(wanted.hashIsProven === true ? ['--skip-hash-check'] : []),
    ...(bumpRevision === 0 ? [] : [`--bump-revision=${bumpRevision}`, '--mark-compacted']),
  ];
}

async function findProgram(name: string, options: EtcdToolsOptions): Promise<string> {
  const inPath = options.path.split(delimiter).filter((folder) => folder !== '');
  const folders = options.folder === undefined ? [...inPath, ...options.elsewhere] : [options.folder];
  for (const folder of folders) {
    const program = join(folder, name);
    const found = await access(program, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return program;
  }
  throw new SnapshotError('not-found', `${name} is not found`, {
    why:
      options.folder === undefined
        ? `there is none in ${folders.join(', ')}`
        : `there is none in ${options.folder}, which --etcd-tools names`,
    hint: 'Install etcdutl and etcd of an etcd release (3.6 or newer), and name their folder with --etcd-tools if it is not in PATH.',
  });
}

async function runTool(
  program: string,
  args: readonly string[],
  doing: string,
  signal: AbortSignal,
): Promise<string> {
  try {
    const running = run(program, args, {
      env: bareEnvironment(),
      signal,
      killSignal: 'SIGKILL',
      maxBuffer: 4 * 1024 * 1024,
    });
    const guard = guardOf(running.child);
    try {
      return (await running).stdout;
    } finally {
      guard.kill('SIGKILL');
    }
  } catch (error) {
    if (signal.aborted) throw abortError(signal);
    const said = saidIn(error);
    const full = /no space left on device|disk quota exceeded/i.test(said);
    const hash = /expected sha256|missing hash/i.test(said);
    throw new SnapshotError(full ? 'disk-full' : hash ? 'corrupt' : 'io', doing, {
      why: `${program} says: ${lastLines(said, asError(error).message)}`,
      hint: full
        ? 'Free some space on that disk, and run the same command again.'
        : 'Check the snapshot with "etcd-snapshot verify", and the disk.',
      cause: error,
    });
  }
}

function saidIn(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('stderr' in error)) return systemCode(error) ?? '';
  return String(error.stderr);
}

/** etcd logs JSON and ends with a plain line that names the trouble. */
function lastLines(said: string, otherwise: string): string {
  const lines = said.split('\n').filter((line) => line !== '' && !line.startsWith('{"level":"info"'));
  return lines.at(-1)?.slice(0, 500) ?? otherwise;
}
