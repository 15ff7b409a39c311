import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { GetObjectCommand, ListMultipartUploadsCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import { expect } from 'vitest';
import type { EtcdSettings } from '../../src/config/types.ts';
import type { CommandResult } from './command.ts';
import { openUploadsOf } from './s3-looks.ts';
import type { SaveScene } from './save-scene.ts';

const run = promisify(execFile);
const HASH_BYTES = 32;

export interface Aftermath {
  /** Exit code; null after SIGKILL. */
  readonly code: number | null;
  /** How many whole snapshots are there under their names, on disk and (default 0) on S3. */
  readonly local: number;
  readonly s3?: number;
  /** What must be said: the cause, and the cure. */
  readonly says?: readonly (RegExp | string)[];
  /** What must not be said in any output, beside the keys of etcd and S3. */
  readonly secrets?: readonly string[];
  /**
   * How many uploads S3 may have begun that nobody knows: they have no parts, and look like another cluster's. They and their
   * notes wait for a day. Default 0.
   */
  readonly unnamed?: number;
  /** Flags of the next save, or false where none can succeed. */
  readonly next?: readonly string[] | false;
}

/**
 * What a save promises whatever befalls it: nothing but whole, proven snapshots stands under a final name, on disk or on S3; an
 * error tells what, why and what to do; no output holds a secret; and nothing temporary is left, at the latest after the next
 * save, which is run if there is any need.
 */
export async function checkAftermath(
  scene: SaveScene,
  etcd: EtcdSettings,
  result: CommandResult,
  wanted: Aftermath,
): Promise<void> {
  const secrets = [...(wanted.secrets ?? []), ...(await secretsOf(scene, etcd))];
  const said = result.stdout + result.stderr;
  expect(result.code, said).toBe(wanted.code);
  for (const text of wanted.says ?? []) expect(said).toMatch(text);
  for (const secret of secrets) expect(said).not.toContain(secret);
  if (result.code === 1 || result.code === 3) expect(said).toMatch(/^ {2}why: .+\n {2}do: {2}.+/m);
  expect(result.stdout).toBe('');

  const before = await wholeSnapshots(scene);
  expect(before, said).toEqual({ local: wanted.local, s3: wanted.s3 ?? 0 });
  if (wanted.next === false) return;

  const names = await namesIn(scene);
  const left = [...(await scene.temporaries()), ...(await openUploads(scene, names))];
  // Only who is killed, or has lost S3, may leave something to the next save.
  if (result.code !== null && scene.s3 === undefined) expect(left).toEqual([]);
  if (left.length === 0) return;

  const next = await scene.run([...(wanted.next ?? []), '--name=next']);
  expect(next.code, next.stderr).toBe(0);
  for (const secret of secrets) expect(next.stderr).not.toContain(secret);
  expect(await wholeSnapshots(scene)).toEqual({
    local: before.local + 1,
    s3: before.s3 + (scene.s3 === undefined ? 0 : 1),
  });
  const { unnamed = 0 } = wanted;
  const notes = (await scene.temporaries()).filter((name) => name.endsWith('.upload')).slice(0, unnamed);
  expect((await scene.temporaries()).filter((name) => !notes.includes(name))).toEqual([]);
  const unfinished = await openUploads(scene, [...names, ...(await namesIn(scene))]);
  expect([...new Set(unfinished)].slice(unnamed)).toEqual([]);
}

/** Counts what stands under final names. @throws when anything there is not a whole snapshot */
async function wholeSnapshots(scene: SaveScene): Promise<{ local: number; s3: number }> {
  const local = (await stat(scene.dir)).isDirectory() ? await scene.finals() : [];
  for (const name of local) expect(await isProven(join(scene.dir, name)), name).toBe(true);
  const keys = await objectKeys(scene);
  for (const key of keys) {
    const copy = join(scene.scratch, 'object');
    await writeFile(copy, await objectBytes(scene, key));
    expect(await isProven(copy, key.endsWith('.zip')), key).toBe(true);
  }
  return { local: local.length, s3: keys.length };
}

/** Whether a file is a database of etcd with the right hash behind it; read here without a line of the program's own. */
export async function isProven(path: string, zipped = path.endsWith('.zip')): Promise<boolean> {
  const bytes = zipped
    ? (await run('unzip', ['-p', path], { encoding: 'buffer', maxBuffer: 1024 ** 3 })).stdout
    : await readFile(path);
  if (bytes.length % 512 !== HASH_BYTES) return false;
  const hash = createHash('sha256').update(bytes.subarray(0, -HASH_BYTES)).digest();
  return hash.equals(bytes.subarray(-HASH_BYTES));
}

async function objectKeys({ s3 }: SaveScene): Promise<string[]> {
  if (s3 === undefined) return [];
  const { bucket, folder } = s3.settings;
  const page = await s3.server
    .client()
    .send(new ListObjectsV2Command({ Bucket: bucket, Prefix: `${folder}/` }));
  return (page.Contents ?? []).flatMap(({ Key = '' }) => (Key.includes('/.metadata/') ? [] : [Key]));
}

async function objectBytes({ s3 }: SaveScene, key: string): Promise<Uint8Array> {
  const input = { Bucket: s3?.settings.bucket ?? '', Key: key };
  const answer = await s3?.server.client().send(new GetObjectCommand(input));
  return (await answer?.Body?.transformToByteArray()) ?? new Uint8Array();
}

/** Names of snapshots, finished or not, that files and notes in the folder tell of. */
async function namesIn(scene: SaveScene): Promise<string[]> {
  const files = await readdir(scene.dir);
  return files.map((file) => /^\.(.+)\.[0-9a-f]+\.(?:part|upload)$/.exec(file)?.[1] ?? file);
}

/** MinIO lists the uploads of a whole key only; the other server lists those of the whole folder. */
async function openUploads({ s3 }: SaveScene, names: readonly string[]): Promise<string[]> {
  if (s3 === undefined) return [];
  const { bucket, folder } = s3.settings;
  if (s3.server.kind === 'minio') {
    const found = await Promise.all(
      names.map((name) => openUploadsOf(s3.server, bucket, `${folder}/${name}`)),
    );
    return found.flat();
  }
  const input = { Bucket: bucket, Prefix: `${folder}/` };
  const page = await s3.server.client().send(new ListMultipartUploadsCommand(input));
  return (page.Uploads ?? []).map(({ Key = '' }) => Key);
}

async function secretsOf(scene: SaveScene, etcd: EtcdSettings): Promise<string[]> {
  const pem = etcd.keyFile === undefined ? '' : await readFile(etcd.keyFile, 'utf8');
  const lines = pem.split('\n').filter((line) => line !== '' && !line.startsWith('-----'));
  const keys = scene.s3?.settings.keys;
  return [...lines, ...(keys === undefined ? [] : [keys.secretKey.reveal(), keys.accessKey.reveal()])];
}
