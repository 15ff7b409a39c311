import { randomBytes } from 'node:crypto';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { EtcdSettings, S3Settings } from '../../src/config/types.ts';
import { type Aftermath, checkAftermath } from './aftermath.ts';
import {
  type CommandResult,
  etcdFlags,
  type RunningCommand,
  s3Env,
  s3Flags,
  startCommand,
} from './command.ts';
import type { S3Server } from './s3-server.ts';
import { scratchDir } from './scratch.ts';

export interface SceneOptions {
  readonly etcd: EtcdSettings;
  readonly s3?: { readonly server: S3Server; readonly bucket: string } | undefined;
  readonly kubeconfig?: string | undefined;
  /** The snapshot folder; one of its own unless given. */
  readonly dir?: string;
}

/** A node of its own, where a save is well unless a test spoils it. */
export interface SaveScene extends AsyncDisposable {
  /** A folder that goes with the scene. */
  readonly scratch: string;
  /** The snapshot folder. */
  readonly dir: string;
  readonly nodeName: string;
  /** Undefined without S3. */
  readonly s3: { readonly server: S3Server; readonly settings: S3Settings } | undefined;
  /** Starts a save. What the flags say counts before what the scene says. */
  start(flags?: readonly string[], wrapper?: readonly string[]): RunningCommand;
  /** Runs a save to its end. */
  run(flags?: readonly string[], wrapper?: readonly string[]): Promise<CommandResult>;
  /** Names in the snapshot folder: of snapshots, and of what is temporary. */
  finals(): Promise<string[]>;
  temporaries(): Promise<string[]>;
  /** What must hold after each fault; see `checkAftermath`. */
  aftermath(result: CommandResult, wanted: Aftermath): Promise<void>;
}

/** The words without those that other ones take the place of: a list that is given twice would be the sum of both. */
function instead(words: readonly string[], others: readonly string[]): readonly string[] {
  const nameOf = (word: string) => word.split('=', 1)[0];
  const given = new Set(others.map(nameOf));
  return [...words.filter((word) => !given.has(nameOf(word))), ...others];
}

/** Every save runs with `--debug`: what it adds must keep the secrets too. */
export async function saveScene(options: SceneOptions): Promise<SaveScene> {
  const scratch = await scratchDir('scene-');
  const dir = options.dir ?? join(scratch.path, 'snapshots');
  if (options.dir === undefined) await mkdir(dir, { mode: 0o700 });
  const nodeName = `node-${randomBytes(4).toString('hex')}`;
  const s3 =
    options.s3 === undefined
      ? undefined
      : { server: options.s3.server, settings: options.s3.server.settings(options.s3.bucket, nodeName) };
  const healthy = [
    'save',
    '--debug',
    '--distribution=custom',
    `--node-name=${nodeName}`,
    `--dir=${dir}`,
    ...etcdFlags(options.etcd),
    ...(s3 === undefined ? [] : s3Flags(s3.settings)),
    ...(options.kubeconfig === undefined ? [] : [`--kubeconfig=${options.kubeconfig}`]),
  ];
  const env = s3 === undefined ? {} : s3Env(s3.settings);
  const names = async (hidden: boolean) =>
    (await readdir(dir)).filter((name) => name.startsWith('.') === hidden);
  const scene: SaveScene = {
    scratch: scratch.path,
    dir,
    nodeName,
    s3,
    start: (flags = [], wrapper = []) => startCommand(instead(healthy, flags), env, wrapper),
    run: (flags, wrapper) => scene.start(flags, wrapper).done,
    finals: () => names(false),
    temporaries: () => names(true),
    aftermath: (result, wanted) => checkAftermath(scene, options.etcd, result, wanted),
    [Symbol.asyncDispose]: () => scratch[Symbol.asyncDispose](),
  };
  return scene;
}
