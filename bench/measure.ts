import { spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { availableParallelism, release } from 'node:os';
import { performance } from 'node:perf_hooks';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** What is measured: the bundle, as users start it. */
export const program = fileURLToPath(new URL('../bin/etcd-snapshot', import.meta.url));
const results = new URL('./results/', import.meta.url);

/** One whole process, or several in a row, as the operating system saw it. */
export interface Run {
  readonly seconds: number;
  readonly cpuSeconds: number;
  /** Peak resident memory of the largest process, in MB (10^6 bytes). */
  readonly peakMegabytes: number;
}

export interface Step {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Record<string, string>;
}

/** Runs the steps one after the other. @throws Error when one fails: a failed run is no figure */
export async function measure(steps: readonly Step[]): Promise<Run> {
  const began = performance.now();
  let cpuSeconds = 0;
  let peakMegabytes = 0;
  for (const step of steps) {
    const run = await measureOne(step);
    cpuSeconds += run.cpuSeconds;
    peakMegabytes = Math.max(peakMegabytes, run.peakMegabytes);
  }
  return { seconds: (performance.now() - began) / 1000, cpuSeconds, peakMegabytes };
}

/**
 * Peak resident memory of a program alone, in MB (10^6 bytes), without the programs that it starts: what GNU time tells is that of
 * the largest of them all. The kernel keeps the peak; what it grows by in the last moments before the end is not seen.
 */
export async function ownPeak({ command, args, env }: Step): Promise<number> {
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: 'ignore' });
  let kibibytes = 0;
  while (child.exitCode === null && child.signalCode === null) {
    // A process that has ended and was not waited for has no memory.
    const status = await readFile(`/proc/${child.pid}/status`, 'utf8');
    kibibytes = Math.max(kibibytes, Number(/VmHWM:\s*(\d+)/.exec(status)?.[1] ?? 0));
    await setTimeout(20);
  }
  if (child.exitCode !== 0) throw new Error(`${command} ${args[0] ?? ''} ended with ${child.exitCode}`);
  return (kibibytes * 1024) / 1e6;
}

/** GNU time reports what wait4 said of the process: user and system seconds, and the peak in KiB. */
async function measureOne(step: Step): Promise<Omit<Run, 'seconds'>> {
  const child = spawn('/usr/bin/time', ['-f', '%U %S %M', step.command, ...step.args], {
    env: { ...process.env, ...step.env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const [user, system, kibibytes] = (stderr.trim().split('\n').at(-1) ?? '').split(' ').map(Number);
  if (code !== 0 || user === undefined || system === undefined || kibibytes === undefined) {
    throw new Error(`${step.command} ${step.args[0] ?? ''} ended with ${code}:\n${stderr}`);
  }
  return { cpuSeconds: user + system, peakMegabytes: (kibibytes * 1024) / 1e6 };
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

export async function machine(): Promise<string> {
  const cpu =
    /model name\s*:\s*(.*)/.exec(await readFile('/proc/cpuinfo', 'utf8'))?.[1] ?? 'unknown processor';
  const memory = /MemTotal:\s*(\d+)/.exec(await readFile('/proc/meminfo', 'utf8'))?.[1] ?? '0';
  return `${cpu}, ${availableParallelism()} cores, ${Math.round(Number(memory) / 1e6)} GB, Linux ${release()}, Node ${process.version}`;
}

/** What `make bench` leaves in `bench/results/`. */
export async function writeResults(file: string, lines: readonly string[]): Promise<void> {
  await mkdir(results, { recursive: true });
  await writeFile(new URL(file, results), `${lines.join('\n')}\n`);
}

/**
 * Has the kernel forget what it has read: files that no running process has mapped come from the disk again.
 * @returns false where that is not permitted
 */
export async function dropCaches(): Promise<boolean> {
  await measure([{ command: 'sync', args: [] }]);
  return writeFile('/proc/sys/vm/drop_caches', '3').then(
    () => true,
    () => false,
  );
}
