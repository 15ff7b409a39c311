import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { access, mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/**
 * Servers and peers of tests, demo and benchmarks, built from the pinned Go modules beside this file. Binaries live in the
 * user's cache, keyed by what decides their content, so that a fresh clone on the same machine starts at once.
 */
interface Tool {
  /** Folder of its go.mod: one per module, because their dependency trees disagree. */
  readonly module: string;
  readonly package: string;
  readonly ldflags?: string;
  /** Seconds of a build from nothing on two cores; for the message. */
  readonly seconds: number;
}

const KUBERNETES = 'v1.36.3';
const kubernetesVersion = [
  `-X k8s.io/component-base/version.gitVersion=${KUBERNETES}`,
  '-X k8s.io/component-base/version.gitMajor=1',
  '-X k8s.io/component-base/version.gitMinor=36',
].join(' ');

const tools = {
  etcd: { module: 'etcd', package: 'go.etcd.io/etcd/server/v3', seconds: 70 },
  etcdctl: { module: 'etcd', package: 'go.etcd.io/etcd/etcdctl/v3', seconds: 5 },
  etcdutl: { module: 'etcd', package: 'go.etcd.io/etcd/etcdutl/v3', seconds: 5 },
  etcd35: { module: 'etcd35', package: 'go.etcd.io/etcd/server/v3', seconds: 25 },
  versitygw: { module: 'versitygw', package: 'github.com/versity/versitygw/cmd/versitygw', seconds: 65 },
  'kube-apiserver': {
    module: 'kubernetes',
    package: 'k8s.io/kubernetes/cmd/kube-apiserver',
    ldflags: kubernetesVersion,
    seconds: 240,
  },
  kubectl: {
    module: 'kubernetes',
    package: 'k8s.io/kubernetes/cmd/kubectl',
    ldflags: kubernetesVersion,
    seconds: 25,
  },
  minio: { module: 'minio', package: 'github.com/minio/minio', seconds: 170 },
  rclone: { module: 'rclone', package: 'github.com/rclone/rclone', seconds: 130 },
  gozip: { module: 'gozip', package: '.', seconds: 5 },
} as const satisfies Record<string, Tool>;

export type ToolName = keyof typeof tools;

const all = Object.keys(tools) as ToolName[];
export const toolSets = {
  '--demo': ['etcd', 'etcdctl', 'versitygw', 'kube-apiserver', 'kubectl'],
  '--test': all.filter((name) => name !== 'rclone'),
  '--bench': ['etcd', 'etcdctl', 'etcdutl', 'versitygw', 'rclone', 'gozip'],
  '--all': all,
} as const satisfies Record<string, readonly ToolName[]>;

const run = promisify(execFile);
const cacheRoot = join(
  process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'),
  'etcd-snapshot-operator',
  'tools',
);

/** Path of the binary, building it first when the cache has none. @throws Error when Go is missing or a build fails */
export async function toolPath(name: ToolName): Promise<string> {
  return (await provide(name)).binary;
}

/** Builds what the cache lacks of these tools, one after the other: the linker alone fills a small machine's memory. */
export async function provideTools(
  names: Iterable<ToolName>,
  say: (line: string) => void = () => undefined,
): Promise<void> {
  for (const name of names) {
    const { binary, reused } = await provide(name);
    say(`    ${name}: ${reused ? 'reused' : 'built'}, ${binary}`);
  }
}

async function provide(name: ToolName): Promise<{ binary: string; reused: boolean }> {
  const tool: Tool = tools[name];
  const folder = fileURLToPath(new URL(`./${tool.module}/`, import.meta.url));
  const flags = ['-trimpath', '-ldflags', `-s -w ${tool.ldflags ?? ''}`.trim()];
  const directory = join(cacheRoot, `${tool.module}-${await fingerprint(folder, flags)}`);
  const binary = join(directory, name);
  if (await exists(binary)) return { binary, reused: true };
  process.stderr.write(`    building ${name} (about ${tool.seconds} s, once)\n`);
  await mkdir(directory, { recursive: true });
  // Two builds at once may not see each other's half-written binary: each builds aside, and renaming is atomic.
  const aside = await mkdtemp(join(directory, '.build-'));
  try {
    await go(['build', ...flags, '-o', join(aside, name), tool.package], folder);
    await rename(join(aside, name), binary);
  } finally {
    await rm(aside, { recursive: true, force: true });
  }
  return { binary, reused: false };
}

/** Runs Go in the folder of a module. @throws Error with what Go said */
async function go(args: readonly string[], folder: string): Promise<string> {
  try {
    const { stdout } = await run('go', args, {
      cwd: folder,
      env: { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-buildvcs=false' },
      maxBuffer: 64 * 1024 * 1024,
    });
    return stdout.trim();
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    if (!missing) throw error;
    throw new Error('Go is missing, which builds the test servers: install Go 1.26 or newer', {
      cause: error,
    });
  }
}

async function fingerprint(folder: string, flags: readonly string[]): Promise<string> {
  const target = await go(['env', 'GOVERSION', 'GOOS', 'GOARCH'], folder);
  const hash = createHash('sha256').update([target, ...flags].join('\0'));
  for (const file of ['go.mod', 'go.sum', 'main.go']) {
    if (await exists(join(folder, file))) hash.update(await readFile(join(folder, file)));
  }
  return hash.digest('hex').slice(0, 16);
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function main(args: readonly string[]): Promise<void> {
  const sets: Readonly<Record<string, readonly ToolName[]>> = toolSets;
  const wanted = new Set<ToolName>();
  for (const arg of args) {
    const named = sets[arg] ?? all.filter((name) => name === arg);
    if (named.length === 0) {
      throw new Error(`${arg} is no tool; there are ${[...Object.keys(sets), ...all].join(' ')}`);
    }
    for (const name of named) wanted.add(name);
  }
  await provideTools(wanted, (line) => process.stdout.write(`${line}\n`));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv.slice(2));
