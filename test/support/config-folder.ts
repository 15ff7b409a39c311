import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';
import { readConfigFiles } from '../../src/config/config-file.ts';
import { parseFlags } from '../../src/config/flags.ts';
import type { CommandName } from '../../src/config/option.ts';
import { resolveConfig } from '../../src/config/resolve.ts';
import type { Config, S3Settings } from '../../src/config/types.ts';
import type { SnapshotError } from '../../src/errors.ts';

/** A folder for `config.yaml` and what is beside it, anew for each test of the file that calls it. */
export function useConfigFolder() {
  let dir = '';
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'config-'));
  });
  afterEach(() => rm(dir, { recursive: true }));

  /** As the program does it, with `config.yaml` of the test named by the flag unless the environment names one. */
  const resolve = async (
    args: readonly string[] = [],
    { command = 'save', env = {} }: { command?: CommandName; env?: Record<string, string> } = {},
  ): Promise<Config> => {
    const flags = parseFlags([command, '--dir=/s', `--config=${join(dir, 'config.yaml')}`, ...args]);
    const around = { env, hostname: 'node-1', cwd: '/', exists: () => false };
    return resolveConfig(command, flags, around, await readConfigFiles(command, flags.given, around));
  };
  const write = async (files: Readonly<Record<string, string>>): Promise<void> => {
    for (const [name, text] of Object.entries(files)) {
      await mkdir(dirname(join(dir, name)), { recursive: true });
      await writeFile(join(dir, name), text);
    }
  };
  const problemOf = async (...args: Parameters<typeof resolve>): Promise<string> => {
    const error = await resolve(...args).then(
      () => undefined,
      (thrown: SnapshotError) => thrown,
    );
    return `${error?.code}: ${error?.message} ${error?.why ?? ''} ${error?.hint ?? ''}`;
  };
  return { dir: () => dir, main: () => join(dir, 'config.yaml'), resolve, write, problemOf };
}

export function s3Of({ s3 }: Config): S3Settings {
  if (s3.kind !== 'settings') throw new Error(`not settings, but ${s3.kind}`);
  return s3.settings;
}
