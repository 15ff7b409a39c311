import { readdirSync, readlinkSync } from 'node:fs';
import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { BlockList, connect, isIPv6 } from 'node:net';
import { basename, join, sep } from 'node:path';
import { systemCode } from '../errors.ts';
import { addressesHere } from './own-member.ts';

const CONNECT_MS = 2_000;
/** What the kernel puts behind the name of a file that is open and has none any more. */
const DELETED = ' (deleted)';
/** TCP_LISTEN of the kernel. */
const LISTENING = '0A';

/** A program that listens on a port. */
interface Listener {
  readonly pid: number;
  readonly program: string;
}

/** A program that has a file of a folder open. */
export interface User {
  readonly pid: number;
  readonly program: string;
  /** By the name that the program opened it by, which in a container may be another than here. */
  readonly file: string;
}

interface Open {
  readonly file: string;
  readonly descriptor: string;
}

/** The files of a data folder of etcd. */
interface Known {
  readonly prefix: string;
  readonly names: ReadonlySet<string>;
  /** As `identityOf`. */
  readonly identities: ReadonlySet<string>;
  readonly mounts: string | undefined;
}

/**
 * Who has files of etcd's data folder open, as far as this user can see: root sees all of this node. A container may know the
 * folder by another name, and another folder by this one, so that there the file itself is compared.
 */
export async function usersOf(folder: string): Promise<User[]> {
  const files = await filesBelow(join(folder, 'member'));
  const known: Known = {
    prefix: `${folder}${sep}`,
    names: new Set([...files.keys()].map((path) => basename(path))),
    identities: new Set(files.values()),
    mounts: await mountsOf('self'),
  };
  const users: User[] = [];
  for (const name of await readdir('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const file = await firstOpenFile(pid, known);
    if (file !== undefined) users.push({ pid, program: await programOf(pid), file });
  }
  return users;
}

/** Whether a process has the database of an etcd open: of one whose data are elsewhere, when `usersOf` does not name it. */
export function hasDatabase(pid: number): boolean {
  return openFiles(pid).some(({ file }) => file.endsWith('/member/snap/db'));
}

/** Path and identity of each file. */
async function filesBelow(folder: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const entry of (await readdir(folder, { withFileTypes: true }).catch(gone)) ?? []) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      for (const [inner, identity] of await filesBelow(path)) found.set(inner, identity);
      continue;
    }
    const identity = await identityOf(path);
    if (identity !== undefined) found.set(path, identity);
  }
  return found;
}

async function firstOpenFile(pid: number, known: Known): Promise<string | undefined> {
  let mounts: string | undefined;
  for (const { file, descriptor } of openFiles(pid)) {
    const here = file.startsWith(known.prefix);
    if (!here && !known.names.has(basename(file))) continue;
    mounts ??= await mountsOf(String(pid));
    // A file that is gone cannot be compared; a name that fits is reason enough.
    if (here && (mounts === known.mounts || file.endsWith(DELETED))) return file;
    const identity = await identityOf(descriptor);
    if (identity !== undefined && known.identities.has(identity)) return file;
  }
  return undefined;
}

/**
 * Programs that listen on a TCP port of this node, on whatever address, as far as this user can see: root sees all. What
 * another network, or the kernel itself, answers there belongs to none.
 */
export async function listenersOn(port: number): Promise<Listener[]> {
  const sockets = new Set<string>();
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  for (const table of ['tcp', 'tcp6']) {
    for (const line of ((await readFile(`/proc/net/${table}`, 'utf8').catch(gone)) ?? '').split('\n')) {
      const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
      if (state === LISTENING && local?.endsWith(`:${hex}`) === true) sockets.add(`socket:[${inode}]`);
    }
  }
  const found: Listener[] = [];
  for (const name of sockets.size === 0 ? [] : await readdir('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || !targetsOf(pid).some(({ file }) => sockets.has(file))) continue;
    found.push({ pid, program: await programOf(pid) });
  }
  return found;
}

function openFiles(pid: number): Open[] {
  return targetsOf(pid).filter(({ file }) => file.startsWith('/'));
}

/**
 * Files, pipes and sockets. Synchronous: thousands of files take 16 ms so, for the kernel answers from memory, and 300 ms by
 * promises.
 */
function targetsOf(pid: number): Open[] {
  const folder = `/proc/${pid}/fd`;
  const found: Open[] = [];
  for (const name of unlessGone(() => readdirSync(folder)) ?? []) {
    const descriptor = join(folder, name);
    const file = unlessGone(() => readlinkSync(descriptor));
    if (file !== undefined) found.push({ file, descriptor });
  }
  return found;
}

/** Device and number of a file, which it has by whatever name it is reached. */
async function identityOf(path: string): Promise<string | undefined> {
  const stats = await stat(path, { bigint: true }).catch(gone);
  return stats && `${stats.dev}:${stats.ino}`;
}

/** Processes with the same answer know all files by the same names. */
async function mountsOf(pid: string): Promise<string | undefined> {
  return readlink(`/proc/${pid}/ns/mnt`).catch(gone);
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
  if (!['ENOENT', 'ENOTDIR', 'ESRCH', 'EACCES', 'EPERM'].includes(systemCode(error) ?? '')) throw error;
}

/** What every node calls itself. */
const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8);
LOOPBACK.addAddress('::1', 'ipv6');

/** Whether an address, without a port, is one of this node. */
export function isOfThisNode(address: string, here: readonly string[] = addressesHere()): boolean {
  return LOOPBACK.check(address, isIPv6(address) ? 'ipv6' : 'ipv4') || here.includes(address);
}

/**
 * Whether somebody listens there on this node. A list of endpoints names those of other nodes too, and they may well run: a name
 * counts for the address that it leads to. @param address `host:port`
 */
export async function listens(address: string): Promise<boolean> {
  const url = new URL(`tcp://${address}`);
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({ host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port) });
  socket.setTimeout(CONNECT_MS);
  socket.once('connect', () => {
    const { remoteAddress: at } = socket;
    resolve(at === undefined || isOfThisNode(at));
  });
  socket.once('timeout', () => resolve(false));
  socket.once('error', () => resolve(false));
  try {
    return await promise;
  } finally {
    socket.destroy();
  }
}
