import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { abortError, asError, SnapshotError } from '../errors.ts';
import type { StartWanted, TemporaryEtcd } from '../restore/ports.ts';
import { guardOf } from './process-guard.ts';
import { bareEnvironment } from './tool-environment.ts';

const LOOK_EVERY_MS = 20;
/** Opening a large database takes its time; what has ended is noticed at once. */
const START_TIMEOUT_MS = 600_000;
const ANSWER_TIMEOUT_MS = 600_000;
/** Writing out what it holds in memory; far more than it takes. */
const STOP_TIMEOUT_MS = 120_000;

/** @throws SnapshotError with the end of etcd's log when it does not come to answer */
export async function startTemporaryEtcd(
  program: string,
  wanted: StartWanted,
  more: readonly string[],
  signal: AbortSignal,
  limits = { startMs: START_TIMEOUT_MS, stopMs: STOP_TIMEOUT_MS },
): Promise<TemporaryEtcd> {
  const log = join(wanted.runDir, 'etcd.log');
  const socketPath = join(wanted.runDir, 'client.sock');
  const descriptor = openSync(log, 'w', 0o600);
  const child = spawn(program, [...flagsOf(wanted, socketPath), ...more], {
    cwd: wanted.runDir,
    env: bareEnvironment(),
    stdio: ['ignore', descriptor, descriptor],
  });
  closeSync(descriptor);
  const failures: Error[] = [];
  child.once('error', (error) => failures.push(error));
  const guard = guardOf(child);
  const end = async () => {
    guard.kill('SIGKILL');
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  };
  try {
    const ask = (path: string, body: object, inner: AbortSignal) => post(socketPath, path, body, inner);
    const version = await firstAnswer(child, failures, ask, limits.startMs, signal);
    const stop = async () =>
      stopped(child, limits.stopMs, signal).catch(async (error: unknown) => {
        if (signal.aborted) throw abortError(signal);
        throw new SnapshotError('io', `The temporary etcd on ${wanted.dataDir} did not end in order`, {
          why: `${asError(error).message}; the end of its log: ${await endOfLog(log)}`,
          hint: 'Check the disk and its free space, and run the same command again.',
          cause: error,
        });
      });
    return { ...requests(ask), version, stop, [Symbol.asyncDispose]: end };
  } catch (error) {
    await end();
    if (signal.aborted) throw abortError(signal);
    throw new SnapshotError('io', `A temporary etcd does not start on ${wanted.dataDir}`, {
      why: `${asError(error).message}; the end of its log: ${await endOfLog(log)}`,
      hint: 'The snapshot may be of a newer etcd than this one, or damaged inside; try etcd of the version that wrote it.',
      cause: error,
    });
  }
}

function flagsOf(wanted: StartWanted, socketPath: string): string[] {
  const { dataDir, runDir, member, peerUrl, quota } = wanted;
  return [
    `--name=${member}`,
    `--data-dir=${dataDir}`,
    `--listen-client-urls=unix://${socketPath}`,
    '--advertise-client-urls=http://localhost:1',
    `--listen-peer-urls=unix://${join(runDir, 'peer.sock')}`,
    `--initial-advertise-peer-urls=${peerUrl}`,
    `--initial-cluster=${member}=${peerUrl}`,
    `--quota-backend-bytes=${quota}`,
    '--heartbeat-interval=10',
    '--election-timeout=100',
    '--logger=zap',
    '--log-level=warn',
  ];
}

type Ask = (path: string, body: object, signal: AbortSignal) => Promise<Record<string, unknown>>;

/** Only one that ended because it was asked to has written everything. @throws Error when it did not */
async function stopped(child: ChildProcess, limitMs: number, signal: AbortSignal): Promise<void> {
  const over = () => child.exitCode !== null || child.signalCode !== null;
  if (over()) throw new Error(`it had ended by itself, with ${child.exitCode ?? child.signalCode}`);
  const deadline = AbortSignal.timeout(limitMs);
  const ended = once(child, 'exit', { signal: AbortSignal.any([signal, deadline]) });
  child.kill('SIGTERM');
  try {
    await ended;
  } catch (error) {
    if (deadline.aborted) throw new Error(`it did not end in ${limitMs / 1000} s`, { cause: error });
    throw error;
  }
  if (child.exitCode !== 0 && child.signalCode !== 'SIGTERM') {
    throw new Error(`it ended with ${child.exitCode ?? child.signalCode}`);
  }
}

async function firstAnswer(
  child: ChildProcess,
  failures: readonly Error[],
  ask: Ask,
  limitMs: number,
  signal: AbortSignal,
): Promise<string> {
  const deadline = AbortSignal.timeout(limitMs);
  const either = AbortSignal.any([signal, deadline]);
  for (;;) {
    if (failures[0] !== undefined) throw failures[0];
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`it ended with ${child.exitCode ?? child.signalCode}`);
    }
    if (deadline.aborted) throw new Error(`it did not answer in ${limitMs / 1000} s`);
    try {
      const { leader, version } = await ask('/v3/maintenance/status', {}, either);
      if (leader !== undefined) return typeof version === 'string' ? version : 'unknown';
    } catch (error) {
      if (signal.aborted) throw abortError(signal);
      if (!(error instanceof NotYet)) throw error;
    }
    await pause(LOOK_EVERY_MS, undefined, { signal });
  }
}

function requests(ask: Ask): Pick<TemporaryEtcd, 'count' | 'firstKey' | 'hashKV'> {
  const base64 = (text: string) => Buffer.from(text, 'latin1').toString('base64');
  const range = (from: string, to: string, more: object, signal: AbortSignal) =>
    ask('/v3/kv/range', { key: base64(from), range_end: base64(to), ...more }, signal);
  return {
    async count(from, to, signal) {
      return Number((await range(from, to, { count_only: true }, signal))['count'] ?? 0);
    },
    async firstKey(from, to, signal) {
      const { kvs } = await range(from, to, { keys_only: true, limit: 1 }, signal);
      const first: unknown = Array.isArray(kvs) ? kvs[0] : undefined;
      if (typeof first !== 'object' || first === null || !('key' in first)) return undefined;
      return Buffer.from(String(first.key), 'base64').toString('latin1');
    },
    async hashKV(signal) {
      const answer = await ask('/v3/maintenance/hashkv', {}, signal);
      return { hash: Number(answer['hash'] ?? 0), revision: Number(answer['hash_revision'] ?? 0) };
    },
  };
}

/** Nobody listens yet, or there is no leader yet. */
class NotYet extends Error {}

/** One request to the JSON gateway of etcd; 64-bit numbers come as text, bytes as base64. */
async function post(
  socketPath: string,
  path: string,
  body: object,
  signal: AbortSignal,
): Promise<Record<string, unknown>> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
  const call = request({ socketPath, path, method: 'POST', signal, timeout: ANSWER_TIMEOUT_MS }, (answer) => {
    let text = '';
    answer.setEncoding('utf8');
    answer.on('data', (chunk: string) => {
      text += chunk;
    });
    answer.once('end', () => resolve({ status: answer.statusCode ?? 0, text }));
    answer.once('error', reject);
  });
  call.once('error', (error) => reject(new NotYet(error.message, { cause: error })));
  call.once('timeout', () => call.destroy(new Error('etcd does not answer')));
  call.end(JSON.stringify(body));
  const { status, text } = await promise;
  if (status === 503) throw new NotYet(text);
  if (status !== 200) throw new Error(`the temporary etcd refuses ${path}: ${text.slice(0, 300)}`);
  const parsed: unknown = JSON.parse(text);
  return typeof parsed === 'object' && parsed !== null ? { ...parsed } : {};
}

async function endOfLog(path: string): Promise<string> {
  const lines = (await readFile(path, 'utf8')).trim().split('\n');
  return lines.at(-1)?.slice(0, 500) ?? 'nothing';
}
