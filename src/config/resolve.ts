import { resolve } from 'node:path';
import { SnapshotError } from '../errors.ts';
import { buildSnapshotName, nameProblem } from '../snapshot/naming.ts';
import { type FileSettings, noFile } from './config-file.ts';
import { detectDistribution, type Paths, pathsOf } from './distribution.ts';
import { parseBoolean } from './duration.ts';
import { type Given, type ParsedFlags, type Problem, valueProblem } from './flags.ts';
import { operatorSettings, retentionOf } from './operator-settings.ts';
import { type CommandName, countsFor } from './option.ts';
import { options } from './options.ts';
import { restoreOrder, snapshotsNamed, useS3For } from './restore-settings.ts';
import { s3RetentionOf } from './s3-settings.ts';
import { resolveS3 } from './s3-source.ts';
import type { Config, Distribution, EtcdSettings, OutputFormat, ProgressFormat } from './types.ts';

/** What the resolution knows of the machine; passed in, so that it can be tested without one. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly hostname: string;
  /** Working directory, which relative folders start from. */
  readonly cwd: string;
  exists(path: string): boolean;
}

const distributions: readonly Distribution[] = ['k3s', 'rke2', 'kubeadm', 'custom'];
const outputs: readonly OutputFormat[] = ['table', 'json', 'yaml'];
const progressFormats: readonly ProgressFormat[] = ['auto', 'json', 'none'];

/**
 * Flags over config files over environment over defaults, checked as a whole.
 * @throws SnapshotError `usage` whose `why` lists every problem, a line each
 */
export function resolveConfig(
  command: CommandName,
  flags: ParsedFlags,
  around: Surroundings,
  file: FileSettings = noFile,
): Config {
  const problems: Problem[] = [...flags.problems, ...file.problems];
  const given = layered(command, flags.given, file.given, around, problems);
  // There is nothing else that it could check.
  if (command === 's3') given.s3 ??= 'true';
  // One set of flags may stand before every command: what only `save` needs does not disturb the others, nor does what
  // k3s calls the snapshot options of its server.
  for (const option of options) {
    const fits =
      option.commands.includes(command) || option.commands.includes('save') || option.alias !== undefined;
    if (flags.given[option.key] !== undefined && !fits) {
      problems.push({ what: `--${option.flag} has no meaning for ${command}`, cure: 'leave it out' });
    }
  }
  const names = snapshotsNamed(flags.words.slice(1), given);
  if (command === 'verify' || command === 'restore') useS3For(names, given, flags.given);
  checkWords(command, names, problems);
  const detected = detectDistribution((path) => around.exists(path), given.dataDir);
  const distribution = oneOf(
    'distribution',
    distributions,
    given.distribution?.toLowerCase(),
    detected,
    problems,
  );
  const paths = pathsOf(distribution, given.dataDir);
  const nodeName = given.nodeName ?? around.hostname.toLowerCase();
  const snapshotName = given.name ?? (command === 'operator' ? 'etcd-snapshot' : 'on-demand');
  const compress = isTrue(given.compress);
  checkNames(snapshotName, nodeName, compress, problems);
  const snapshotDir = given.dir ?? paths.snapshotDir;
  // A snapshot may be given by its path, and S3 has no folder here.
  if (snapshotDir === undefined && !['verify', 'restore', 's3'].includes(command)) {
    problems.push({
      what:
        given.distribution === undefined
          ? '--dir is missing: no K3s, RKE2 or kubeadm was found on this node, as far as this user can see'
          : `--dir is missing: ${distribution} has no snapshot folder of its own`,
      cure: 'give --dir; on a server run as root, or give --distribution',
    });
  }
  const s3 = resolveS3(given, { flags: flags.given, file: file.sources }, problems);
  if (command === 's3' && s3.kind === 'off') {
    problems.push({ what: '--s3=false leaves nothing to check', cure: 'leave it out' });
  }
  const config: Config = {
    distribution,
    nodeName,
    dataDir: paths.dataDir,
    snapshotDir: resolve(around.cwd, snapshotDir ?? ''),
    snapshotDirIsDefault: given.dir === undefined,
    snapshotName,
    compress,
    etcd: etcdSettings(given, paths, problems),
    s3,
    s3Typed: Boolean(flags.given.s3),
    s3Retention: s3RetentionOf(given, command === 'prune' ? flags.given : {}),
    kubeconfig: given.kubeconfig ?? ownKubeconfig(command, paths, around),
    operator: command === 'operator' ? operatorSettings(given, problems) : undefined,
    tokenFile: paths.token,
    restore:
      command === 'restore'
        ? restoreOrder(
            given,
            { distribution, nodeName, dataDir: paths.dataDir, cwd: around.cwd, word: flags.words[0] },
            names,
            problems,
          )
        : undefined,
    tempDir: resolve(around.cwd, given.tempDir ?? '/tmp'),
    etcdTools: given.etcdTools === undefined ? undefined : resolve(around.cwd, given.etcdTools),
    output: oneOf('output', outputs, given.output?.toLowerCase(), 'table', problems),
    retention: retentionOf(given),
    names,
    dryRun: isTrue(given.dryRun),
    allNodes: isTrue(given.allNodes),
    skippedKeys: file.skipped,
    warnings: [...file.warnings, ...idleFlags(flags.given)],
    quiet: isTrue(given.quiet),
    progress: oneOf('progress', progressFormats, given.progress?.toLowerCase(), 'auto', problems),
    debug: isTrue(given.debug),
  };
  if (problems.length > 0) throw usage(problems);
  return config;
}

/** Arguments that are no flags: names for `delete`, snapshots for `verify` and `restore`, a mistake for all others. */
function checkWords(command: CommandName, words: readonly string[], problems: Problem[]): void {
  if (command === 'verify') {
    if (words.length > 0) return;
    const cure = 'write etcd-snapshot verify SNAPSHOT…: a path, or a name that etcd-snapshot ls shows';
    problems.push({ what: 'no snapshot is named that is to be verified', cure });
    return;
  }
  if (command === 'delete') {
    if (words.length === 0) {
      problems.push({
        what: 'no snapshot is named that is to be deleted',
        cure: 'write etcd-snapshot delete NAME…; etcd-snapshot ls shows the names',
      });
    }
    for (const word of words) {
      const why = nameProblem(word);
      if (why === undefined) continue;
      const cure =
        'give the name alone, as etcd-snapshot ls shows it; no path leads out of the snapshot folder';
      problems.push({ what: `${shown(word)} is no name of a snapshot: ${why}`, cure });
    }
    return;
  }
  if (command === 's3') {
    if (words.length === 1 && words[0] === 'check') return;
    problems.push({ what: 's3 takes the word check, and no other', cure: 'write etcd-snapshot s3 check' });
    return;
  }
  // What `restore` takes depends on its flags.
  if (words.length === 0 || command === 'restore') return;
  // The words themselves are not shown: one may be a key that lost its flag.
  const many = words.length === 1 ? 'one word is' : `${words.length} words are`;
  problems.push({ what: `${command} takes only flags, and ${many} too many`, cure: 'write --flag=value' });
}

/** Nobody should believe that a flag led elsewhere when it did nothing. */
function idleFlags(flags: Given): SnapshotError[] {
  const idle = options.filter((option) => option.idle !== undefined && flags[option.key] !== undefined);
  return idle.map(({ flag, idle: why }) => {
    const hint = 'Leave it out.';
    return new SnapshotError('usage', `--${flag} does nothing here`, {
      ...(why === undefined ? {} : { why }),
      hint,
    });
  });
}

/** A pod speaks through its ServiceAccount, also where it can see the node's own kubeconfig. */
function ownKubeconfig(command: CommandName, paths: Paths, around: Surroundings): string | undefined {
  if (command === 'operator' && (around.env['KUBERNETES_SERVICE_HOST'] ?? '') !== '') return undefined;
  return paths.kubeconfig !== undefined && around.exists(paths.kubeconfig) ? paths.kubeconfig : undefined;
}

/** One error for all problems, so that nobody has to find them one by one. */
export function usage(problems: readonly Problem[]): SnapshotError {
  const many = problems.length > 1;
  return new SnapshotError(
    'usage',
    many ? `${problems.length} things are wrong with the command line` : (problems[0]?.what ?? ''),
    {
      ...(many ? { why: problems.map(({ what, cure }) => `\n  - ${what}: ${cure}`).join('') } : {}),
      hint: many ? 'Correct them, or see --help.' : sentence(problems[0]?.cure ?? ''),
    },
  );
}

function sentence(cure: string): string {
  return cure.endsWith('?') ? cure : `${cure}.`;
}

/** An empty value counts as none, so that a script may pass an unset variable; only a name is never guessed. */
function layered(
  command: CommandName,
  flags: Given,
  file: Given,
  around: Surroundings,
  problems: Problem[],
): Given {
  const given: Given = {};
  for (const option of options) {
    const flag = flags[option.key];
    if (flag !== undefined && (flag !== '' || option.key === 'name')) {
      given[option.key] = flag;
      continue;
    }
    if (!countsFor(command, option)) continue;
    const inFile = file[option.key];
    if (inFile !== undefined) {
      given[option.key] = inFile;
      continue;
    }
    const name = option.env?.find((variable) => (around.env[variable] ?? '') !== '');
    const value = name === undefined ? undefined : around.env[name];
    if (name === undefined || value === undefined) continue;
    const problem = valueProblem(option, name, value);
    if (problem === undefined) given[option.key] = value;
    else problems.push(problem);
  }
  return given;
}

function checkNames(base: string, nodeName: string, compressed: boolean, problems: Problem[]): void {
  const ofNode =
    nodeName === 's3' ? 'records of that node would pass for copies on S3' : nameProblem(nodeName);
  if (ofNode !== undefined) {
    problems.push({ what: `--node-name ${shown(nodeName)}: ${ofNode}`, cure: 'give the name of the node' });
  }
  if (base === '') {
    problems.push({ what: '--name is empty', cure: 'leave it out for on-demand' });
    return;
  }
  let ofName = nameProblem(base);
  if (ofName === undefined && ofNode === undefined) {
    try {
      buildSnapshotName({ base, nodeName, createdAt: new Date('9999-12-31'), compressed });
    } catch (error) {
      if (!(error instanceof SnapshotError)) throw error;
      ofName = `with node and time behind it, ${error.why ?? 'it is no file name'}`;
    }
  }
  if (ofName !== undefined) {
    problems.push({ what: `--name ${shown(base)}: ${ofName}`, cure: 'choose a plain and short file name' });
  }
}

function shown(name: string): string {
  return JSON.stringify(name.length > 60 ? `${name.slice(0, 60)}…` : name);
}

function etcdSettings(given: Given, paths: Paths, problems: Problem[]): EtcdSettings {
  const endpoints = (given.etcdServers ?? 'https://127.0.0.1:2379').split(',').map((part) => part.trim());
  for (const endpoint of endpoints) {
    if (/^https?:\/\/(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?\/?$/.test(endpoint)) continue;
    problems.push({
      // An address with a user in it may hold a password.
      what: `--etcd-servers${endpoint.includes('@') ? '' : `: ${JSON.stringify(endpoint)}`} is no address of etcd`,
      cure: 'write https://host:2379',
    });
  }
  const certFile = given.etcdCertFile ?? paths.cert;
  const keyFile = given.etcdKeyFile ?? paths.key;
  if ((given.etcdCertFile === undefined) !== (given.etcdKeyFile === undefined)) {
    problems.push({
      what: '--etcd-certfile and --etcd-keyfile belong together, and one is missing',
      cure: 'give both',
    });
  }
  return { endpoints, caFile: given.etcdCaFile ?? paths.ca, certFile, keyFile };
}

function oneOf<T extends string>(
  flag: string,
  choices: readonly T[],
  value: string | undefined,
  fallback: T,
  problems: Problem[],
): T {
  if (value === undefined) return fallback;
  const chosen = choices.find((choice) => choice === value);
  if (chosen === undefined) {
    problems.push({
      what: `--${flag}: ${JSON.stringify(value)} is not one of ${choices.join(', ')}`,
      cure: 'choose one',
    });
  }
  return chosen ?? fallback;
}

function isTrue(value: string | undefined): boolean {
  return value !== undefined && parseBoolean(value) === true;
}
