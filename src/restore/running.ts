import { readdirSync, readlinkSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join, sep } from 'node:path';
import { systemCode } from '../errors.ts';

const CONNECT_MS = 2_000;

/** A program that has a file of a folder open. */
export interface User {
  readonly pid: number;
  readonly program: string;
  readonly file: string;
}

/** Who has files of `folder` open, as far as this user can see: root sees all of this node. */
export async function usersOf(folder: string): Promise<User[]> {
  const users: User[] = [];
  for (const name of await readdir('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const file = firstOpenFile(pid, `${folder}${sep}`);
    if (file !== undefined) users.push({ pid, program: await programOf(pid), file });
  }
  return users;
}

/** Synchronous: thousands of files take 16 ms so, for the kernel answers from memory, and 300 ms by promises. */
function firstOpenFile(pid: number, prefix: string): string | undefined {
  const descriptors = unlessGone(() => readdirSync(`/proc/${pid}/fd`)) ?? [];
  for (const descriptor of descriptors) {
    const file = unlessGone(() => readlinkSync(join(`/proc/${pid}/fd`, descriptor)));
    if (file?.startsWith(prefix) === true) return file;
  }
  return undefined;
}

function unlessGone<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    return gone(error);
  }
}

async function programOf(pid: number): Promise<string> {
  return ((await readFile(`/proc/${pid}/comm`, 'utf8').catch(gone)) ?? 'a program').trim();
}

/** Processes end while they are looked at, and those of others are not shown to everybody. */
function gone(error: unknown): undefined {
  if (!['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes(systemCode(error) ?? '')) throw error;
}

/** Whether somebody listens there. @param address `host:port` */
export async function listens(address: string): Promise<boolean> {
  const url = new URL(`tcp://${address}`);
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({ host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port) });
  socket.setTimeout(CONNECT_MS);
  socket.once('connect', () => resolve(true));
  socket.once('timeout', () => resolve(false));
  socket.once('error', () => resolve(false));
  try {
    return await promise;
  } finally {
    socket.destroy();
  }
}
