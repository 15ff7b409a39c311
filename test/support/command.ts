import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { EtcdSettings, S3Settings } from '../../src/config/types.ts';
import { programPath } from './programs.ts';

const main = programPath('main');

export interface CommandResult {
  /** Exit code; null when a signal ended the process. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunningCommand {
  readonly child: ChildProcess;
  readonly done: Promise<CommandResult>;
  /** Resolves as soon as `condition` holds; rejects when the command ends first. */
  until(condition: () => Promise<boolean> | boolean): Promise<void>;
}

/**
 * Starts `etcd-snapshot` with a bare environment, so that nothing of the machine leaks in.
 * @param wrapper a command that runs it, with its own arguments
 */
export function startCommand(
  args: readonly string[],
  env: Record<string, string> = {},
  wrapper: readonly string[] = [],
): RunningCommand {
  const words = [...wrapper, process.execPath, main, ...args];
  const child = spawn(words[0] ?? '', words.slice(1), {
    env: { PATH: process.env['PATH'] ?? '', NO_COLOR: '1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const done = once(child, 'close').then(([code]) => ({ code: code as number | null, stdout, stderr }));
  return {
    child,
    done,
    async until(condition) {
      while (!(await condition())) {
        if (child.exitCode !== null || child.signalCode !== null) {
          throw new Error(`the command ended (${child.exitCode}) before it came to this:\n${stderr}`);
        }
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    },
  };
}

export function runCommand(
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<CommandResult> {
  return startCommand(args, env).done;
}

export function etcdFlags(settings: EtcdSettings): string[] {
  return [
    `--etcd-servers=${settings.endpoints.join(',')}`,
    ...(settings.caFile === undefined ? [] : [`--etcd-cafile=${settings.caFile}`]),
    ...(settings.certFile === undefined ? [] : [`--etcd-certfile=${settings.certFile}`]),
    ...(settings.keyFile === undefined ? [] : [`--etcd-keyfile=${settings.keyFile}`]),
  ];
}

/** The keys go through the environment, as users should do it. */
export function s3Flags(settings: S3Settings): string[] {
  return [
    '--s3',
    `--s3-endpoint=${settings.endpoint}`,
    `--s3-bucket=${settings.bucket}`,
    `--s3-region=${settings.region}`,
    ...(settings.folder === '' ? [] : [`--s3-folder=${settings.folder}`]),
    ...(settings.insecure ? ['--s3-insecure'] : []),
    ...(settings.skipSSLVerify ? ['--s3-skip-ssl-verify'] : []),
    ...(settings.endpointCA === '' ? [] : [`--s3-endpoint-ca=${settings.endpointCA}`]),
    `--s3-timeout=${settings.timeoutMs}ms`,
  ];
}

export function s3Env(settings: S3Settings): Record<string, string> {
  return {
    AWS_ACCESS_KEY_ID: settings.keys?.accessKey.reveal() ?? '',
    AWS_SECRET_ACCESS_KEY: settings.keys?.secretKey.reveal() ?? '',
  };
}
